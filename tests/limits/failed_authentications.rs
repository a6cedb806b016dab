//! A source that repeatedly fails to authenticate must wait. Other sources are not affected, and no credential is
//! locked.

use std::time::Duration;

use bytes::Bytes;
use tokend_client::v1::{ErrorReason, Role};
use tokend_tests::{Installation, http, on_sqlite, question, raw, refusal, token_in};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::serve;

on_sqlite!(
    a_source_with_too_many_failures_must_wait,
    a_valid_credential_is_accepted_from_any_source,
    invalid_tokens_do_not_count_against_the_verifier,
);

const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const LIMITS: &str = "failed_authentications = 5\nfailed_authentications_forgiven_per_minute = 1";

fn wait(status: &Status) -> Duration {
    refusal(
        status,
        Code::ResourceExhausted,
        ErrorReason::TooManyFailedAuthentications,
    );
    let details = status.get_error_details();
    details
        .retry_info()
        .and_then(|info| info.retry_delay)
        .expect("the error has a retry delay")
}

async fn a_source_with_too_many_failures_must_wait(installation: Installation) {
    let server = serve(&installation, LIMITS).await;
    let channel = raw::connect(server.grpc_address()).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    for guess in ["guess", &token, "tkdc_x", "", "guess"] {
        let status = raw::call_as(&channel, guess, LIST, Bytes::new())
            .await
            .expect_err("the credential is invalid");
        refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
    // The limit holds across connections.
    let channel = raw::connect(server.grpc_address()).await;
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new())
        .await
        .expect_err("the credential is invalid");
    assert_eq!(wait(&status), Duration::from_secs(1));
    // A call without a credential is not a guess.
    let status = raw::call(&channel, LIST, &[], &[Bytes::new()])
        .await
        .expect_err("the credential is missing");
    refusal(&status, Code::Unauthenticated, ErrorReason::MissingCredential);

    // One failure is forgiven per minute. The next refusal has a longer delay.
    installation.clock().set_ahead(Duration::from_secs(60));
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new())
        .await
        .expect_err("the credential is invalid");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new())
        .await
        .expect_err("the credential is invalid");
    assert_eq!(wait(&status), Duration::from_secs(2));
}

async fn a_valid_credential_is_accepted_from_any_source(installation: Installation) {
    let server = serve(&installation, LIMITS).await;
    let channel = raw::connect(server.grpc_address()).await;
    let mut delayed = 0;
    for _ in 0..30 {
        let status = raw::call_as(&channel, "guess", LIST, Bytes::new())
            .await
            .expect_err("the credential is invalid");
        delayed += usize::from(status.code() == Code::ResourceExhausted);
        raw::call_as(&channel, server.admin_key(), LIST, Bytes::new())
            .await
            .expect("the credential is valid");
    }
    assert_eq!(delayed, 25);
    let metrics = http::get(server.ops_address(), "/metrics").1;
    for (reason, count) in [("INVALID_CREDENTIAL", 5), ("TOO_MANY_FAILED_AUTHENTICATIONS", 25)] {
        let line = format!("tokend_unauthenticated_calls_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

async fn invalid_tokens_do_not_count_against_the_verifier(installation: Installation) {
    let server = serve(&installation, LIMITS).await;
    let acme = server.workspace("acme").await;
    let gateway = server.caller("gateway", Role::Verifier).await;
    let client = server.client(&gateway.secret).await;
    for _ in 0..30 {
        client
            .token_verify()
            .verify(question("tkdw_junk", &acme, &[]))
            .await
            .expect("Verify succeeds");
    }
    let channel = raw::connect(server.grpc_address()).await;
    let status = raw::call_as(&channel, "guess", LIST, Bytes::new())
        .await
        .expect_err("the credential is invalid");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
}
