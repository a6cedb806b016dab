//! Several servers on one PostgreSQL, and a PostgreSQL that goes away.

use std::time::Duration;

use tokend_client::v1::{Decision, DenyReason, ErrorReason, RevokeTokenRequest};
use tokend_tests::{Installation, Refused, eventually, http, on_postgres, question, raw, token_in};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

on_postgres!(every_server_judges_by_the_same_time, an_outage_of_the_database_is_told_and_ends);

const READINESS: [&str; 3] = ["", "tokend.v1.TokenVerify", "tokend.v1.TokenAdmin"];

async fn status(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).check(request).await.expect("it is served").into_inner().status()
}

async fn every_server_judges_by_the_same_time(installation: Installation) {
    let server = installation.start().await;
    let replica = installation.serve(server.admin_key()).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(replica.verdict(question(&token.secret, &acme, &[])).await.decision(), Decision::Allow);
    installation.clock().set_ahead(Duration::from_secs(3_600));
    for server in [&server, &replica] {
        assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(), DenyReason::Expired);
    }
}

async fn an_outage_of_the_database_is_told_and_ends(installation: Installation) {
    let database = installation.postgres().expect("it is on PostgreSQL");
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let channel = raw::connect(server.grpc_address()).await;
    let reaches = async |expected: ServingStatus| {
        for service in READINESS {
            eventually("readiness follows the database", async || (status(&channel, service).await == expected).then_some(()))
                .await;
        }
    };

    database.cut_off();
    let ask = || question(&token.secret, &acme, &[]);
    let revoke = || RevokeTokenRequest { name: token.public.name.clone(), ..Default::default() };
    let verdict = server.admin().token_verify().verify(ask()).await;
    let change = server.admin().token_admin().revoke_token(revoke()).await;
    for failure in [
        verdict.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
        change.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
    ] {
        assert!(failure.retry_after.is_some(), "{failure:?}");
    }
    reaches(ServingStatus::NotServing).await;
    assert_eq!(status(&channel, "liveness").await, ServingStatus::Serving, "it lives");
    assert_eq!((http::get(server.ops_address(), "/readyz").0, http::get(server.ops_address(), "/livez").0), (503, 200));

    database.restore();
    reaches(ServingStatus::Serving).await;
    assert_eq!(server.verdict(ask()).await.decision(), Decision::Allow, "nothing was lost, nothing half done");
}
