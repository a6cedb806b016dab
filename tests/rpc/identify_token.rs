//! `TokenAdmin.IdentifyToken` returns the token that a secret belongs to.

use tokend_client::v1::{CreateCallerRequest, ErrorReason, IdentifyTokenRequest, Role, Selection, token::State};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(
    active_and_revoked_tokens_are_identified,
    unknown_and_foreign_secrets_are_not_found,
    a_caller_key_is_refused
);

fn secret(secret: &str) -> IdentifyTokenRequest {
    IdentifyTokenRequest {
        secret: secret.to_owned(),
    }
}

async fn active_and_revoked_tokens_are_identified(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let issued = server.token(token_in(&acme)).await;
    let admin = server.admin().token_admin();
    let identified = admin
        .clone()
        .identify_token(secret(&issued.secret))
        .await
        .expect("IdentifyToken succeeds")
        .into_inner();
    assert_eq!(identified.token.as_ref(), Some(&issued.public));
    server.revoke(&issued.public.name).await;
    let identified = admin
        .clone()
        .identify_token(secret(&issued.secret))
        .await
        .expect("IdentifyToken succeeds")
        .into_inner();
    assert_eq!(identified.token.expect("`token` is set").state(), State::Revoked);
}

async fn unknown_and_foreign_secrets_are_not_found(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let mine = server.token(token_in(&acme)).await.secret;
    let foreign = server.token(token_in(&other)).await.secret;
    let admin = server.admin().token_admin();
    for unknown in ["", "garbage", &mine[1..], &mine[..73]] {
        admin
            .clone()
            .identify_token(secret(unknown))
            .await
            .refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    let limited = CreateCallerRequest {
        caller_id: "acme-admin".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![acme],
        }),
        ..Default::default()
    };
    let limited = server.caller_as(limited).await;
    let limited = server.client(&limited.secret).await.token_admin();
    limited
        .clone()
        .identify_token(secret(&mine))
        .await
        .expect("the token is in its workspace");
    let foreign_failure = limited
        .clone()
        .identify_token(secret(&foreign))
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    let garbage_failure = limited
        .clone()
        .identify_token(secret("garbage"))
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    assert_eq!(
        foreign_failure.message, garbage_failure.message,
        "the error does not reveal that the token exists"
    );
}

async fn a_caller_key_is_refused(installation: Installation) {
    let server = installation.start().await;
    let answer = server
        .admin()
        .token_admin()
        .identify_token(secret(server.admin_key()))
        .await;
    answer.refused(Code::InvalidArgument, ErrorReason::SecretIsACallerKey);
}
