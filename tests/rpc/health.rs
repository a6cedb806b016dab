//! `grpc.health.v1.Health` and the ops port report whether the server is ready. They require no credential.

use std::iter;

use tokend_tests::{Installation, http, on_both_databases, raw, token_in};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

on_both_databases!(
    a_ready_server_reports_serving,
    an_unknown_service_is_not_found,
    a_watch_starts_with_the_current_status,
    probes_over_http,
);

/// Returns the services whose health status is the server's readiness.
fn ready_services() -> impl Iterator<Item = String> {
    iter::once(String::new()).chain(raw::contract_services())
}

const LIVENESS: &str = "liveness";

async fn status(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    HealthClient::new(channel.clone())
        .check(request)
        .await
        .expect("Check succeeds")
        .into_inner()
        .status()
}

async fn a_ready_server_reports_serving(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for service in ready_services().chain([LIVENESS.to_owned()]) {
        assert_eq!(status(&channel, &service).await, ServingStatus::Serving, "{service}");
    }
}

async fn an_unknown_service_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let request = HealthCheckRequest {
        service: "nobody.Nothing".to_owned(),
    };
    let status = HealthClient::new(channel)
        .check(request)
        .await
        .expect_err("the service is unknown");
    assert_eq!(status.code(), Code::NotFound, "as the health protocol says: {status:?}");
    assert_eq!(
        status.get_error_details().error_info().map(|info| info.domain.as_str()),
        Some("tokend")
    );
}

async fn a_watch_starts_with_the_current_status(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(channel)
        .watch(request)
        .await
        .expect("Watch succeeds")
        .into_inner();
    assert_eq!(
        watch
            .message()
            .await
            .expect("the watch does not fail")
            .expect("the watch sends a message")
            .status(),
        ServingStatus::Serving
    );
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
