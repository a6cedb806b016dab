//! The tower layer: which requests pass, and what the others are answered.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response, header, request::Parts};
use tokend_client::{
    guard::{Access, Denied, GuardLayer, TokenGuard, VerifiedToken},
    v1::{self, DenyReason},
};
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::fake::{Fake, SECRET, TOKEN, allowed_everything};

fn routing(request: &Parts) -> Access {
    match request.uri.path() {
        "/healthz" => Access::Public,
        "/site" => Access::token("workspaces/acme/repositories/site", ["repository"]),
        "/admin" => Access::token("workspaces/acme", ["account", "repository"]),
        "/broken" => Access::token("workspaces/acme/..", ["repository"]),
        _ => Access::Unmapped,
    }
}

/// A service behind the layer, and how often it was reached.
struct Guarded {
    layer: GuardLayer,
    served: Arc<AtomicU64>,
}

impl Guarded {
    fn new(layer: GuardLayer) -> Self {
        Self {
            layer,
            served: Arc::default(),
        }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        let served = Arc::clone(&self.served);
        let inner = service_fn(move |request: Request<Body>| {
            served.fetch_add(1, Ordering::Relaxed);
            let token = request.extensions().get::<VerifiedToken>().map(VerifiedToken::name);
            let denied = request
                .extensions()
                .get::<Denied>()
                .map(|denied| denied.kind().as_str());
            let text = token.or(denied).unwrap_or("nobody").to_owned();
            async move { Ok::<_, Infallible>(Response::new(Body::from(text))) }
        });
        let mut service = self.layer.layer(inner);
        let Ok(response) = service.ready().await.expect("ready").call(request).await;
        response
    }

    async fn get(&self, path: &str, authorization: &[&str]) -> Response<Body> {
        self.send(request(path, authorization, None)).await
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn request(path: &str, authorization: &[&str], content_type: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().uri(path);
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(Body::empty()).expect("a request")
}

async fn text(response: Response<Body>) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}

fn challenge(response: &Response<Body>) -> &str {
    response
        .headers()
        .get(header::WWW_AUTHENTICATE)
        .map_or("", |value| value.to_str().expect("text"))
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

#[tokio::test]
async fn a_permitted_request_passes_with_its_token() {
    let fake = Fake::start().await;
    let guarded = Guarded::new(fake.guard().await.layer(routing));
    let response = guarded.get("/site", &[&bearer(SECRET)]).await;
    assert_eq!(
        (response.status().as_u16(), text(response).await.as_str()),
        (200, TOKEN)
    );
}

#[tokio::test]
async fn a_public_route_needs_no_token_and_none_is_verified() {
    let fake = Fake::start().await;
    let guarded = Guarded::new(fake.guard().await.layer(routing));
    for authorization in [&[][..], &["Bearer nonsense"], &["a", "b"]] {
        let mut request = request("/healthz", authorization, None);
        // Nobody but the guard says who was verified.
        let stolen = fake
            .guard()
            .await
            .verify(SECRET, "workspaces/acme", &["repository"], None)
            .await;
        request.extensions_mut().insert(stolen.expect("allowed"));
        let response = guarded.send(request).await;
        assert_eq!(
            (response.status().as_u16(), text(response).await.as_str()),
            (200, "nobody")
        );
    }
}

#[tokio::test]
async fn other_requests_do_not_reach_the_service() {
    let fake = Fake::start().await;
    let guarded = Guarded::new(fake.guard().await.layer(routing));
    let good = bearer(SECRET);
    for (path, authorization, status, error) in [
        ("/site", &[][..], 401, "Bearer realm=\"tokend\""),
        ("/site", &["Bearer tkdw_other"], 401, "error=\"invalid_token\""),
        ("/site", &["Basic YTpi"], 401, "error=\"invalid_token\""),
        ("/site", &[good.as_str(), good.as_str()], 401, "error=\"invalid_token\""),
        ("/elsewhere", &[good.as_str()], 403, ""),
        ("/site/", &[good.as_str()], 403, ""),
        ("/broken", &[good.as_str()], 403, ""),
    ] {
        let response = guarded.get(path, authorization).await;
        assert_eq!(response.status(), status, "{path} {authorization:?}");
        assert!(challenge(&response).contains(error), "{path}: {}", challenge(&response));
        assert_eq!(error.is_empty(), challenge(&response).is_empty());
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
    assert_eq!(guarded.served(), 0);
}

#[tokio::test]
async fn a_denial_says_what_is_missing() {
    let fake = Fake::start().await;
    let guarded = Guarded::new(fake.guard().await.layer(routing));
    for (reason, status, error) in [
        (DenyReason::Revoked, 401, "invalid_token"),
        (DenyReason::WorkspaceSuspended, 401, "invalid_token"),
        (DenyReason::InsufficientScope, 403, "insufficient_scope"),
        (DenyReason::AddressNotAllowed, 403, "insufficient_scope"),
    ] {
        fake.service.deny(SECRET, reason);
        let response = guarded.get("/admin", &[&bearer(SECRET)]).await;
        assert_eq!(response.status(), status, "{reason:?}");
        let challenge = challenge(&response);
        assert!(challenge.contains(&format!("error=\"{error}\"")), "{challenge}");
        let has_scope = challenge.contains("scope=\"account repository\"");
        assert_eq!(has_scope, reason == DenyReason::InsufficientScope, "{challenge}");
    }
    assert_eq!(guarded.served(), 0);
}

#[tokio::test]
async fn grpc_is_answered_by_a_status() {
    let fake = Fake::start().await;
    let guarded = Guarded::new(fake.guard().await.layer(routing));
    let outage = Status::unavailable("the database is out of reach");
    for (secret, path, code) in [
        ("tkdw_other", "/site", Code::Unauthenticated),
        (SECRET, "/elsewhere", Code::PermissionDenied),
        ("tkdw_outage", "/site", Code::Unavailable),
    ] {
        fake.service.fail("tkdw_outage", outage.clone());
        let request = request(path, &[&bearer(secret)], Some("application/grpc"));
        let response = guarded.send(request).await;
        assert_eq!(response.status(), 200);
        let status = Status::from_header_map(response.headers()).expect("a status in the headers");
        assert_eq!(status.code(), code, "{path}");
        assert!(text(response).await.is_empty(), "trailers only");
    }
    assert_eq!(guarded.served(), 0);
}

#[tokio::test]
async fn an_outage_fails_closed() {
    let fake = Fake::start().await;
    let guarded = Guarded::new(fake.guard().await.layer(routing));
    fake.service
        .fail(SECRET, Status::unavailable("the database is out of reach"));
    let response = guarded.get("/site", &[&bearer(SECRET)]).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(challenge(&response), "", "another token would not help");
    fake.service
        .fail(SECRET, Status::permission_denied("the key is not a VERIFIER's"));
    assert_eq!(guarded.get("/site", &[&bearer(SECRET)]).await.status(), 500);
    assert_eq!(guarded.served(), 0);
}

#[tokio::test]
async fn shadow_mode_lets_through_and_counts() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    let guarded = Guarded::new(guard.layer(routing).shadow());
    fake.service
        .fail("tkdw_outage", Status::unavailable("the database is out of reach"));
    for (path, authorization, seen) in [
        ("/site", bearer(SECRET), TOKEN),
        ("/site", bearer("tkdw_other"), "unrecognized"),
        ("/site", bearer("tkdw_another"), "unrecognized"),
        ("/site", bearer("tkdw_outage"), "unavailable"),
        ("/elsewhere", bearer(SECRET), "unmapped_route"),
        ("/healthz", bearer(SECRET), "nobody"),
    ] {
        let response = guarded.get(path, &[&authorization]).await;
        assert_eq!((response.status().as_u16(), text(response).await.as_str()), (200, seen));
    }
    assert_eq!(guarded.served(), 6);
    let stats = guard.stats();
    let counted: Vec<_> = stats.shadow_denied.into_iter().collect();
    assert_eq!(
        counted,
        [("unavailable", 1), ("unmapped_route", 1), ("unrecognized", 2)]
    );
    assert!(stats.denied.is_empty());
    assert_eq!((stats.allowed, stats.outages), (1, 1));
}

#[tokio::test]
async fn tokens_with_networks_need_the_clients_address() {
    let fake = Fake::start().await;
    let limited = v1::VerifiedToken {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..allowed_everything()
    };
    fake.service.allow(SECRET, limited);
    let guard = fake.guard().await;
    let address = |parts: &Parts| parts.extensions.get::<SocketAddr>().map(SocketAddr::ip);
    let guarded = Guarded::new(guard.layer(routing).client_address(address));
    let send = async |ip: &str| {
        let mut request = request("/site", &[&bearer(SECRET)], None);
        let ip: IpAddr = ip.parse().expect("an address");
        request.extensions_mut().insert(SocketAddr::new(ip, 1));
        guarded.send(request).await.status()
    };
    assert_eq!(send("192.0.2.7").await, 200);
    assert_eq!(send("192.0.2.8").await, 200);
    assert_eq!(fake.service.calls(), 1, "the cache knows the networks");
    fake.service.deny(SECRET, DenyReason::AddressNotAllowed);
    assert_eq!(send("198.51.100.7").await, 403);
    assert_eq!(fake.service.calls(), 2, "the cache does not deny");
}

/// What the documentation of the crate promises: a few lines guard an axum service.
#[tokio::test]
async fn an_axum_router_takes_the_layer() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let guard = TokenGuard::builder(&client)
        .deadline(Duration::from_secs(5))
        .start()
        .layer(routing);
    let router: axum::Router = axum::Router::new()
        .route(
            "/site",
            axum::routing::get(async |request: Request<Body>| {
                let token = request.extensions().get::<VerifiedToken>().expect("verified");
                token.name().to_owned()
            }),
        )
        .layer(guard);
    let response = router
        .clone()
        .oneshot(request("/site", &[&bearer(SECRET)], None))
        .await
        .expect("infallible");
    assert_eq!(text(response).await, TOKEN);
    let response = router.oneshot(request("/site", &[], None)).await.expect("infallible");
    assert_eq!(response.status(), 401);
}
