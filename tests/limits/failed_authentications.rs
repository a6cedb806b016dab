//! Whoever fails to authenticate over and over is told to wait. Nobody else is, and nothing is locked.

use std::time::Duration;

use bytes::Bytes;
use tokend_client::v1::{ErrorReason, Role};
use tokend_tests::{Installation, http, on_sqlite, question, raw, refusal, token_in};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::serve;

on_sqlite!(
    too_many_failures_are_told_to_wait,
    a_right_credential_passes_whatever_its_source_did,
    a_verifier_is_not_charged_for_the_tokens_of_others,
);

const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const LIMITS: &str = "failed_authentications = 5\nfailed_authentications_forgiven_per_minute = 1";

fn wait(status: &Status) -> Duration {
    refusal(status, Code::ResourceExhausted, ErrorReason::TooManyFailedAuthentications);
    let details = status.get_error_details();
    details.retry_info().and_then(|info| info.retry_delay).expect("it is told how long")
}

async fn too_many_failures_are_told_to_wait(installation: Installation) {
    let server = serve(&installation, LIMITS).await;
    let channel = raw::connect(server.grpc_address()).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    for guess in ["guess", &token, "tkdc_x", "", "guess"] {
        let status = raw::call_as(&channel, guess, LIST, Bytes::new()).await.expect_err("it is wrong");
        refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
    // On whatever connection.
    let channel = raw::connect(server.grpc_address()).await;
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new()).await.expect_err("it is wrong");
    assert_eq!(wait(&status), Duration::from_secs(1));
    // Nobody guesses by sending nothing.
    let status = raw::call(&channel, LIST, &[], &[Bytes::new()]).await.expect_err("nobody calls");
    refusal(&status, Code::Unauthenticated, ErrorReason::MissingCredential);

    // A failure is forgiven after a minute, and the next one is told to wait for longer.
    installation.clock().set_ahead(Duration::from_secs(60));
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new()).await.expect_err("it is wrong");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new()).await.expect_err("it is wrong");
    assert_eq!(wait(&status), Duration::from_secs(2));
}

async fn a_right_credential_passes_whatever_its_source_did(installation: Installation) {
    let server = serve(&installation, LIMITS).await;
    let channel = raw::connect(server.grpc_address()).await;
    let mut told_to_wait = 0;
    for _ in 0..30 {
        let status = raw::call_as(&channel, "guess", LIST, Bytes::new()).await.expect_err("it is wrong");
        told_to_wait += usize::from(status.code() == Code::ResourceExhausted);
        raw::call_as(&channel, server.admin_key(), LIST, Bytes::new()).await.expect("it is right");
    }
    assert_eq!(told_to_wait, 25);
    let metrics = http::get(server.ops_address(), "/metrics").1;
    for (reason, count) in [("INVALID_CREDENTIAL", 5), ("TOO_MANY_FAILED_AUTHENTICATIONS", 25)] {
        let line = format!("tokend_unauthenticated_calls_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

async fn a_verifier_is_not_charged_for_the_tokens_of_others(installation: Installation) {
    let server = serve(&installation, LIMITS).await;
    let acme = server.workspace("acme").await;
    let gateway = server.caller("gateway", Role::Verifier).await;
    let client = server.client(&gateway.secret).await;
    for _ in 0..30 {
        client.token_verify().verify(question("tkdw_junk", &acme, &[])).await.expect("a verdict");
    }
    let channel = raw::connect(server.grpc_address()).await;
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new()).await.expect_err("it is wrong");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
}
