//! An axum service that serves repositories only to whoever has a token for them.
//!
//! ```text
//! TOKEND_ADDRESS=127.0.0.1:50051 TOKEND_CALLER_KEY=tkdc_... cargo run --example guard_axum
//! curl -i -H "authorization: Bearer tkdw_..." http://127.0.0.1:8080/acme/repositories/site
//! ```
//!
//! The caller needs the role VERIFIER. `LISTEN` is the address of the service, `SHADOW=1` only counts what it would
//! have denied.

use std::{env, error::Error, net::SocketAddr};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, Path},
    routing::{get, put},
};
use http::request::Parts;
use tokend_client::{
    CallerKey, Client,
    guard::{MalformedRoute, Routes, TokenGuard, VerifiedToken},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const REPOSITORY: &str = "workspaces/{workspace}/repositories/{repository}";

/// What each route needs. What is not listed is denied.
fn routes() -> Result<Routes, MalformedRoute> {
    Routes::default()
        .public("GET", "/healthz")?
        .token(
            "GET",
            "/{workspace}/repositories/{repository}",
            REPOSITORY,
            ["repository"],
        )?
        .token(
            "PUT",
            "/{workspace}/repositories/{repository}",
            REPOSITORY,
            ["repository:write"],
        )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = CallerKey::new(&env::var("TOKEND_CALLER_KEY")?)?;
    let client = Client::builder(env::var("TOKEND_ADDRESS")?)
        .key(&key)
        .connect_lazy()
        .await?;
    let guard = TokenGuard::new(&client);
    let layer = guard.layer(routes()?).client_address(peer);
    let layer = if env::var_os("SHADOW").is_some() {
        layer.shadow()
    } else {
        layer
    };

    let router: Router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/{workspace}/repositories/{repository}", get(read).put(write))
        .route("/forgotten", put(async || "nobody has decided who may do this"))
        .layer(layer);

    let listener = TcpListener::bind(env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:8080")).await?;
    announce(listener.local_addr()?);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut terminated = signal(SignalKind::terminate())?;
    let stop = async move {
        terminated.recv().await;
    };
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    // The last uses of cached tokens are reported.
    guard.shutdown().await;
    Ok(())
}

async fn read(Path((_, repository)): Path<(String, String)>, token: Option<Extension<VerifiedToken>>) -> String {
    // Only shadow mode lets a request through without a token.
    let reader = token.map_or("a shadow".to_owned(), |Extension(token)| token.name().to_owned());
    format!("{repository}, as {reader} sees it")
}

async fn write(Extension(token): Extension<VerifiedToken>) -> String {
    format!("written by {}", token.name())
}

/// Returns the address of the peer. Behind a proxy, this is the proxy's.
fn peer(request: &Parts) -> Option<std::net::IpAddr> {
    let ConnectInfo(peer) = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

#[expect(
    clippy::print_stdout,
    reason = "this is how a program that starts the service learns its address"
)]
fn announce(address: SocketAddr) {
    println!("listening on {address}");
}
