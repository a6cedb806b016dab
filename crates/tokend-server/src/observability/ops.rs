//! The ops port: plain HTTP for orchestrators and metrics. It carries no secrets and changes nothing.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokend_store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{observability::health::Health, observability::metrics::Telemetry};

/// Time in which a client must have sent its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most time for one connection: scrapes and probes are short.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Most connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers probes and scrapes until `stop`.
pub(crate) async fn serve(
    listener: &TcpListener,
    health: &Health,
    telemetry: &Telemetry,
    store: &Store,
    stop: &CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted: io::Result<(TcpStream, _)> = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                let (health, telemetry, store, stop) = (health.clone(), telemetry.clone(), store.clone(), stop.clone());
                connections.spawn(async move {
                    stop.run_until_cancelled(connection(stream, health, telemetry, store))
                        .await
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "accept on the ops port failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, health: Health, telemetry: Telemetry, store: Store) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &health, &telemetry, &store);
        async move { Ok::<_, Infallible>(response) }
    });
    let serve = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    // A client that hangs up is no error.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serve).await;
}

fn respond(
    method: &Method,
    path: &str,
    health: &Health,
    telemetry: &Telemetry,
    store: &Store,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    }
    match path {
        "/livez" => text(StatusCode::OK, "alive\n".into()),
        "/readyz" if health.is_ready() => text(StatusCode::OK, "ready\n".into()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
        "/metrics" => text(StatusCode::OK, telemetry.render(store).into()),
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".into()),
    }
}

fn text(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    // The content type of Prometheus's text format.
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}
