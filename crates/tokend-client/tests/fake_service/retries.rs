//! Deadlines and retries of the client.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokend_client::{
    CallError, Client, Retry,
    v1::{CreateTokenRequest, GetTokenRequest, RevokeTokenRequest},
};
use tokend_core::time::Clock;
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    body::Body,
    server::NamedService,
    transport::{Server, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt};
use tower::Service;

use crate::fake::key;

/// A `TokenAdmin` whose every RPC fails, first with these statuses and then with NOT_FOUND.
#[derive(Clone, Default)]
struct Failing {
    statuses: Arc<Mutex<Vec<Status>>>,
    /// The timeouts that the calls had.
    timeouts: Arc<Mutex<Vec<String>>>,
}

impl Failing {
    async fn start(statuses: impl IntoIterator<Item = Status>) -> (Self, SocketAddr) {
        let failing = Self::default();
        failing.statuses.lock().expect("no panic").extend(statuses);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let server = Server::builder()
            .add_service(failing.clone())
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(async move { server.await.expect("served") });
        (failing, address)
    }

    fn calls(&self) -> usize {
        self.timeouts.lock().expect("no panic").len()
    }
}

impl NamedService for Failing {
    const NAME: &'static str = "tokend.v1.TokenAdmin";
}

impl Service<Request<Body>> for Failing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let timeout = request.headers().get("grpc-timeout").expect("each call has a timeout");
        let timeout = timeout.to_str().expect("text").to_owned();
        self.timeouts.lock().expect("no panic").push(timeout);
        let mut statuses = self.statuses.lock().expect("no panic");
        let status = if statuses.is_empty() {
            Status::not_found("nothing more")
        } else {
            statuses.remove(0)
        };
        ready(Ok(status.into_http()))
    }
}

fn unavailable(retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_retry_info(retry_after);
    Status::with_error_details(Code::Unavailable, "the database is out of reach", details)
}

async fn get_token(client: &Client) -> CallError {
    let outcome = client.token_admin().get_token(GetTokenRequest::default()).await;
    outcome.expect_err("every call fails").into()
}

fn clock() -> Clock {
    Clock::system()
}

async fn connect(address: SocketAddr, retry: Retry) -> Client {
    let client = Client::builder(address.to_string()).key(&key()).retry(retry);
    client.connect().await.expect("connected")
}

#[tokio::test]
async fn a_read_is_repeated_until_the_service_is_available() {
    let (failing, address) = Failing::start([unavailable(None), unavailable(None)]).await;
    let client = connect(address, Retry::default()).await;
    assert_eq!(get_token(&client).await.code, Code::NotFound);
    assert_eq!(failing.calls(), 3);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (failing, address) = Failing::start((0..10).map(|_| unavailable(None))).await;
    let client = connect(address, Retry::default().attempts(3)).await;
    assert_eq!(get_token(&client).await.code, Code::Unavailable);
    assert_eq!(failing.calls(), 3);
    let client = connect(address, Retry::never()).await;
    assert_eq!(get_token(&client).await.code, Code::Unavailable);
    assert_eq!(failing.calls(), 4);
}

#[tokio::test]
async fn other_errors_are_not_repeated() {
    for code in [
        Code::Internal,
        Code::ResourceExhausted,
        Code::DeadlineExceeded,
        Code::Aborted,
    ] {
        let (failing, address) = Failing::start([Status::new(code, "")]).await;
        let client = connect(address, Retry::default()).await;
        assert_eq!(get_token(&client).await.code, code);
        assert_eq!(failing.calls(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_token_is_not_created_twice() {
    let create = CreateTokenRequest {
        parent: "workspaces/acme".to_owned(),
        ..CreateTokenRequest::default()
    };
    for (request_id, calls) in [("", 1), ("one", 2)] {
        let (failing, address) = Failing::start([unavailable(None)]).await;
        let client = connect(address, Retry::default()).await;
        let request = CreateTokenRequest {
            request_id: request_id.to_owned(),
            ..create.clone()
        };
        client.token_admin().create_token(request).await.expect_err("it fails");
        assert_eq!(failing.calls(), calls, "{request_id:?}");
    }
    let (failing, address) = Failing::start([unavailable(None)]).await;
    let client = connect(address, Retry::default()).await;
    let revoked = client.token_admin().revoke_token(RevokeTokenRequest::default()).await;
    assert_eq!(revoked.expect_err("it fails").code(), Code::NotFound);
    assert_eq!(failing.calls(), 2, "revoking again changes nothing");
}

#[tokio::test]
async fn the_pause_that_the_service_asks_for_is_made() {
    let pause = Duration::from_millis(400);
    let (failing, address) = Failing::start([unavailable(Some(pause))]).await;
    let client = connect(address, Retry::default()).await;
    let began = clock().boot_time();
    assert_eq!(get_token(&client).await.code, Code::NotFound);
    let elapsed = clock().boot_time().saturating_since(began);
    assert!(elapsed >= pause, "{elapsed:?}");
    assert_eq!(failing.calls(), 2);
}

#[tokio::test]
async fn nothing_is_repeated_past_the_deadline() {
    let (failing, address) = Failing::start([unavailable(Some(Duration::from_secs(90)))]).await;
    let client = connect(address, Retry::default()).await;
    let began = clock().boot_time();
    assert_eq!(get_token(&client).await.code, Code::Unavailable);
    assert!(
        clock().boot_time().saturating_since(began) < Duration::from_secs(20),
        "it does not wait in vain"
    );
    assert_eq!(failing.calls(), 1);
    let mut request = tonic::Request::new(GetTokenRequest::default());
    request.set_timeout(Duration::from_millis(700));
    client.token_admin().get_token(request).await.expect_err("it fails");
    let timeouts = failing.timeouts.lock().expect("no panic").clone();
    let micros: Vec<u64> = timeouts
        .iter()
        .map(|timeout| timeout.trim_end_matches('u').parse().expect("microseconds"))
        .collect();
    assert!((58_000_000..=60_000_000).contains(&micros[0]), "{timeouts:?}");
    assert!((1..=700_000).contains(&micros[1]), "{timeouts:?}");
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up_at_the_deadline() {
    // It accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("an address");
    let client = Client::builder(address.to_string())
        .key(&key())
        .deadline(Duration::from_millis(300))
        .connect_lazy()
        .await
        .expect("an address");
    let error = tokio::time::timeout(Duration::from_secs(20), get_token(&client)).await;
    assert_eq!(error.expect("it is given up").code, Code::DeadlineExceeded);
}
