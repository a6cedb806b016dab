//! `TokenVerify.BatchVerify` decides each of its requests independently.

use tokend_client::v1::{BatchVerifyRequest, Decision, DenyReason};
use tokend_tests::{Installation, Refused, on_both_databases, question, token_in};

on_both_databases!(
    each_request_is_decided_independently,
    an_invalid_request_fails_the_call_and_is_named,
    a_batch_has_1_to_256_requests
);

async fn each_request_is_decided_independently(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (good, revoked) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.revoke(&revoked.public.name).await;
    let requests = vec![
        question(&revoked.secret, &acme, &[]),
        question(&good.secret, &acme, &["repository"]),
        question("garbage", &acme, &[]),
        question(&good.secret, &acme, &["webhook"]),
        question(&good.secret, &acme, &[]),
    ];
    let answer = server
        .admin()
        .token_verify()
        .batch_verify(BatchVerifyRequest { requests })
        .await
        .expect("BatchVerify succeeds");
    let verdicts: Vec<_> = answer
        .get_ref()
        .responses
        .iter()
        .map(|verdict| (verdict.decision(), verdict.deny_reason()))
        .collect();
    let expected = [
        (Decision::Deny, DenyReason::Revoked),
        (Decision::Allow, DenyReason::Unspecified),
        (Decision::Deny, DenyReason::Unrecognized),
        (Decision::Deny, DenyReason::InsufficientScope),
        (Decision::Allow, DenyReason::Unspecified),
    ];
    assert_eq!(verdicts, expected);
}

async fn an_invalid_request_fails_the_call_and_is_named(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let requests = vec![question("a", &acme, &[]), question("b", "nowhere", &[])];
    let answer = server
        .admin()
        .token_verify()
        .batch_verify(BatchVerifyRequest { requests })
        .await;
    answer.refused_field("requests[1].resource");
}

async fn a_batch_has_1_to_256_requests(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let ask = async |count: usize| {
        let requests = vec![question("garbage", &acme, &[]); count];
        server
            .admin()
            .token_verify()
            .batch_verify(BatchVerifyRequest { requests })
            .await
    };
    ask(0).await.refused_field("requests");
    assert_eq!(
        ask(256).await.expect("BatchVerify succeeds").get_ref().responses.len(),
        256
    );
    ask(257).await.refused_field("requests");
}
