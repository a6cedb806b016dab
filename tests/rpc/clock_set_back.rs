//! A clock that is set back does not revive expired tokens or keys. On SQLite, tokend uses this machine's time and
//! never goes below the last time that it used. PostgreSQL uses its own server's time, which the tests cannot set.

use std::time::Duration;

use tokend_client::v1::{
    CreateCallerKeyRequest, CreateTokenRequest, Decision, DenyReason, ErrorReason, ListScopesRequest, Role, Token,
    VerifyResponse, token::State,
};
use tokend_tests::{Installation, Issued, Refused, Server, after, on_sqlite, question, token_in};
use tonic::Code;

on_sqlite!(
    a_clock_set_back_revives_nothing,
    a_clock_set_back_over_a_restart_revives_nothing,
    a_clock_set_back_revives_no_caller_key
);

const HOUR: Duration = Duration::from_secs(3_600);

async fn verdict(server: &Server, token: &Issued<Token>) -> VerifyResponse {
    server
        .verdict(question(&token.secret, &token.public.workspace, &[]))
        .await
}

async fn a_clock_set_back_revives_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (seen, unseen) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let longer = server
        .token(CreateTokenRequest {
            expiry: after(HOUR * 3),
            ..token_in(&acme)
        })
        .await;
    installation.clock().set_ahead(HOUR * 2);
    assert_eq!(verdict(&server, &seen).await.deny_reason(), DenyReason::Expired);

    installation.clock().set_right();
    assert_eq!(verdict(&server, &seen).await.deny_reason(), DenyReason::Expired);
    assert_eq!(server.get_token(&seen.public.name).await.state(), State::Expired);
    assert_eq!(
        verdict(&server, &unseen).await.deny_reason(),
        DenyReason::Expired,
        "its expire_time had passed as well"
    );
    assert_eq!(
        verdict(&server, &longer).await.decision(),
        Decision::Allow,
        "its expire_time has not passed"
    );
}

async fn a_clock_set_back_over_a_restart_revives_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    installation.clock().set_ahead(HOUR * 2);
    assert_eq!(verdict(&server, &token).await.deny_reason(), DenyReason::Expired);

    // The denial must hold even after the server was killed.
    let key = server.admin_key().to_owned();
    server.kill();
    installation.clock().set_right();
    let successor = installation.serve(&key).await;
    assert_eq!(verdict(&successor, &token).await.deny_reason(), DenyReason::Expired);
    assert_eq!(successor.get_token(&token.public.name).await.state(), State::Expired);
}

async fn a_clock_set_back_revives_no_caller_key(installation: Installation) {
    let server = installation.start().await;
    server.caller("gateway", Role::Verifier).await;
    let ttl = Some(HOUR.try_into().expect("the duration is in range"));
    let request = CreateCallerKeyRequest {
        parent: "callers/gateway".to_owned(),
        ttl,
    };
    let key = server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    let gateway = server.client(&key.secret).await;
    gateway
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await
        .expect("ListScopes succeeds");

    installation.clock().set_ahead(HOUR * 2);
    let answer = gateway.token_admin().list_scopes(ListScopesRequest {}).await;
    answer.refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
    installation.clock().set_right();
    let answer = gateway.token_admin().list_scopes(ListScopesRequest {}).await;
    answer.refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
}
