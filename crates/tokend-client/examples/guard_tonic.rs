//! A tonic service that answers only whoever has a token for the workspace.
//!
//! ```text
//! TOKEND_ADDRESS=127.0.0.1:50051 TOKEND_CALLER_KEY=tkdc_... cargo run --example guard_tonic
//! grpcurl -plaintext -H "authorization: Bearer tkdw_..." -d '{"service": "site"}' \
//!     127.0.0.1:8081 grpc.health.v1.Health/Check
//! ```
//!
//! So that the example needs no generated code of its own, its service is that of gRPC's health checks: `Check` asks
//! how a site is. The caller needs the role VERIFIER. `LISTEN` is the address of the service, `WORKSPACE` the
//! workspace.

use std::{
    env,
    error::Error,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use futures_util::{Stream, stream};
use http::request::Parts;
use tokend_client::{
    CallerKey, Client,
    guard::{Access, TokenGuard, VerifiedToken},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tonic::{
    Request, Response, Status,
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = CallerKey::new(&env::var("TOKEND_CALLER_KEY")?)?;
    let client = Client::builder(env::var("TOKEND_ADDRESS")?)
        .key(&key)
        .connect_lazy()
        .await?;
    let workspace = env::var("WORKSPACE").unwrap_or_else(|_| "workspaces/acme".to_owned());
    let guard = TokenGuard::new(&client);
    let layer = guard.layer(move |request: &Parts| match request.uri.path() {
        "/grpc.health.v1.Health/Check" => Access::token(&workspace, ["repository"]),
        "/grpc.health.v1.Health/Watch" => Access::token(&workspace, ["repository", "webhook"]),
        _ => Access::Unmapped,
    });

    let listener = TcpListener::bind(env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:8081")).await?;
    announce(listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    let stop = async move {
        terminated.recv().await;
    };
    Server::builder()
        .layer(layer.client_address(peer))
        .add_service(HealthServer::new(Sites))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
        .await?;
    // The last uses of cached tokens are reported.
    guard.shutdown().await;
    Ok(())
}

struct Sites;

#[tonic::async_trait]
impl Health for Sites {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let token = request.extensions().get::<VerifiedToken>();
        let token = token.ok_or_else(|| Status::internal("this service runs without its guard"))?;
        let status = ServingStatus::Serving.into();
        let mut response = Response::new(HealthCheckResponse { status });
        let name = token
            .name()
            .parse()
            .map_err(|_| Status::internal("the token has no name"))?;
        response.metadata_mut().insert("seen-by", name);
        Ok(response)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }
}

/// Returns the address of the peer. Behind a proxy, this is the proxy's.
fn peer(request: &Parts) -> Option<IpAddr> {
    let info = request.extensions.get::<TcpConnectInfo>()?;
    info.remote_addr().map(|peer| peer.ip())
}

#[expect(
    clippy::print_stdout,
    reason = "this is how a program that starts the service learns its address"
)]
fn announce(address: SocketAddr) {
    println!("listening on {address}");
}
