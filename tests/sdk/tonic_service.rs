//! The tonic example: what its clients see.

use tokend_client::v1::Role;
use tokend_tests::{Installation, Issued, Server, on_both_databases, raw, token_in};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::service::Service;

on_both_databases!(
    calls_are_answered_by_what_their_token_permits,
    a_revoked_token_is_denied_with_the_next_call,
    a_wrong_caller_key_is_the_services_own_fault,
);

const PROGRAM: &str = env!("CARGO_BIN_EXE_guard-tonic");

fn with_token(secret: Option<&str>) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(secret) = secret {
        let value = format!("Bearer {secret}").parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

async fn check(channel: &Channel, secret: Option<&str>) -> Result<Response<HealthCheckResponse>, Status> {
    HealthClient::new(channel.clone()).check(with_token(secret)).await
}

async fn start(server: &Server) -> (Service, Channel) {
    let service = Service::start(PROGRAM, server, &[]).await;
    let channel = raw::connect(&service.address).await;
    (service, channel)
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

async fn calls_are_answered_by_what_their_token_permits(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let (_service, channel) = start(&server).await;
    for _ in 0..2 {
        let answer = check(&channel, Some(&token.secret)).await.expect("allowed");
        let seen_by = answer.metadata().get("seen-by").expect("the service saw the token");
        assert_eq!(seen_by, token.public.name.as_str());
        let mut health = HealthClient::new(channel.clone());
        let denied = health
            .watch(with_token(Some(&token.secret)))
            .await
            .expect_err("it lacks a scope");
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert_eq!(reason(&denied), "INSUFFICIENT_SCOPE");
        assert!(denied.message().ends_with(": webhook"), "{}", denied.message());
    }
    for (secret, expected) in [(None, "MISSING_TOKEN"), (Some("tkdw_forged"), "UNRECOGNIZED")] {
        let denied = check(&channel, secret).await.expect_err("denied");
        assert_eq!(
            (denied.code(), reason(&denied).as_str()),
            (Code::Unauthenticated, expected)
        );
    }
}

async fn a_revoked_token_is_denied_with_the_next_call(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (_service, channel) = start(&server).await;
    for _ in 0..10 {
        let token = server.token(token_in(&acme)).await;
        for _ in 0..3 {
            check(&channel, Some(&token.secret)).await.expect("allowed");
        }
        server.revoke(&token.public.name).await;
        let denied = check(&channel, Some(&token.secret)).await.expect_err("revoked");
        assert_eq!(
            (denied.code(), reason(&denied).as_str()),
            (Code::Unauthenticated, "REVOKED")
        );
    }
}

async fn a_wrong_caller_key_is_the_services_own_fault(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let Issued { secret, .. } = server.caller("auditor", Role::Auditor).await;
    for key in ["tkdc_forged", secret.as_str()] {
        let service = Service::start_as(PROGRAM, server.grpc_address(), key, &[]).await;
        let channel = raw::connect(&service.address).await;
        let denied = check(&channel, Some(&token.secret))
            .await
            .expect_err("nobody can verify");
        assert_eq!(
            (denied.code(), reason(&denied).as_str()),
            (Code::Internal, "MISCONFIGURED")
        );
        assert!(!denied.message().contains("tkdc_"), "{}", denied.message());
    }
}
