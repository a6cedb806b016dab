//! Several servers share one PostgreSQL, and a server recovers from an outage of it.

use std::{iter, time::Duration};

use tokend_client::v1::{Decision, DenyReason, ErrorReason, RevokeTokenRequest};
use tokend_tests::{Installation, Refused, eventually, http, on_postgres, question, raw, token_in};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

on_postgres!(
    all_servers_expire_tokens_at_the_same_time,
    a_server_recovers_from_a_database_outage
);

/// Returns the services whose health follows the readiness of the server.
fn ready_services() -> impl Iterator<Item = String> {
    iter::once(String::new()).chain(raw::contract_services())
}

async fn status(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    HealthClient::new(channel.clone())
        .check(request)
        .await
        .expect("the health check succeeds")
        .into_inner()
        .status()
}

async fn all_servers_expire_tokens_at_the_same_time(installation: Installation) {
    let server = installation.start().await;
    let replica = installation.serve(server.admin_key()).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(
        replica.verdict(question(&token.secret, &acme, &[])).await.decision(),
        Decision::Allow
    );
    installation.clock().set_ahead(Duration::from_secs(3_600));
    for server in [&server, &replica] {
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
            DenyReason::Expired
        );
    }
}

async fn a_server_recovers_from_a_database_outage(installation: Installation) {
    let database = installation.postgres().expect("the installation uses PostgreSQL");
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let channel = raw::connect(server.grpc_address()).await;
    let wait_for_status = async |expected: ServingStatus| {
        for service in ready_services() {
            eventually("readiness follows the database", async || {
                (status(&channel, &service).await == expected).then_some(())
            })
            .await;
        }
    };

    database.cut_off();
    let ask = || question(&token.secret, &acme, &[]);
    let revoke = || RevokeTokenRequest {
        name: token.public.name.clone(),
        ..Default::default()
    };
    let verdict = server.admin().token_verify().verify(ask()).await;
    let change = server.admin().token_admin().revoke_token(revoke()).await;
    for failure in [
        verdict.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
        change.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
    ] {
        assert!(failure.retry_after.is_some(), "{failure:?}");
    }
    wait_for_status(ServingStatus::NotServing).await;
    assert_eq!(
        status(&channel, "liveness").await,
        ServingStatus::Serving,
        "the server is alive"
    );
    assert_eq!(
        (
            http::get(server.ops_address(), "/readyz").0,
            http::get(server.ops_address(), "/livez").0
        ),
        (503, 200)
    );

    database.restore();
    wait_for_status(ServingStatus::Serving).await;
    assert_eq!(
        server.verdict(ask()).await.decision(),
        Decision::Allow,
        "the failed revocation has no effect"
    );
}
