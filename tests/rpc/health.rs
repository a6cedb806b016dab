//! `grpc.health.v1.Health` and the ops port: should this server get traffic? Needs no credential.

use tokend_tests::{Installation, http, on_both_databases, raw, token_in};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

on_both_databases!(
    a_server_that_is_ready_says_so,
    what_is_not_served_is_not_found,
    watching_starts_with_what_holds_now,
    probes_over_http,
);

const READINESS: [&str; 3] = ["", "tokend.v1.TokenVerify", "tokend.v1.TokenAdmin"];
const LIVENESS: &str = "liveness";

async fn status(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).check(request).await.expect("it is served").into_inner().status()
}

async fn a_server_that_is_ready_says_so(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for service in READINESS.into_iter().chain([LIVENESS]) {
        assert_eq!(status(&channel, service).await, ServingStatus::Serving, "{service}");
    }
}

async fn what_is_not_served_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let request = HealthCheckRequest { service: "nobody.Nothing".to_owned() };
    let status = HealthClient::new(channel).check(request).await.expect_err("there is no such service");
    assert_eq!(status.code(), Code::NotFound, "as the health protocol says: {status:?}");
    assert_eq!(status.get_error_details().error_info().map(|info| info.domain.as_str()), Some("tokend"));
}

async fn watching_starts_with_what_holds_now(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(channel).watch(request).await.expect("it is served").into_inner();
    assert_eq!(watch.message().await.expect("a message").expect("the first").status(), ServingStatus::Serving);
}

async fn probes_over_http(installation: Installation) {
    let server = installation.start().await;
    let get = |path| http::get(server.ops_address(), path);
    assert_eq!(get("/livez").0, 200);
    assert_eq!(get("/readyz").0, 200);
    assert_eq!(get("/nothing").0, 404);
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    let (status, metrics) = get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("tokend.v1.TokenAdmin/CreateToken"), "{metrics}");
}
