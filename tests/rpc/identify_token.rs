//! `TokenAdmin.IdentifyToken`: what is this string?

use tokend_client::v1::{CreateCallerRequest, ErrorReason, IdentifyTokenRequest, Role, Selection, token::State};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(a_token_is_told_alive_or_not, what_is_no_token_of_ours_is_not_found, a_caller_key_is_told_as_such);

fn secret(secret: &str) -> IdentifyTokenRequest {
    IdentifyTokenRequest { secret: secret.to_owned() }
}

async fn a_token_is_told_alive_or_not(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let issued = server.token(token_in(&acme)).await;
    let admin = server.admin().token_admin();
    let told = admin.clone().identify_token(secret(&issued.secret)).await.expect("it is ours").into_inner();
    assert_eq!(told.token.as_ref(), Some(&issued.public));
    server.revoke(&issued.public.name).await;
    let told = admin.clone().identify_token(secret(&issued.secret)).await.expect("it is ours").into_inner();
    assert_eq!(told.token.expect("told").state(), State::Revoked);
}

async fn what_is_no_token_of_ours_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let mine = server.token(token_in(&acme)).await.secret;
    let foreign = server.token(token_in(&other)).await.secret;
    let admin = server.admin().token_admin();
    for unknown in ["", "garbage", &mine[1..], &mine[..73]] {
        admin.clone().identify_token(secret(unknown)).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    let limited = CreateCallerRequest {
        caller_id: "acme-admin".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection { all: false, only: vec![acme] }),
        ..Default::default()
    };
    let limited = server.caller_as(limited).await;
    let limited = server.client(&limited.secret).await.token_admin();
    limited.clone().identify_token(secret(&mine)).await.expect("it is its own");
    let told = limited.clone().identify_token(secret(&foreign)).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    let garbage = limited.clone().identify_token(secret("garbage")).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    assert_eq!(told.message, garbage.message, "nothing tells that there is such a token");
}

async fn a_caller_key_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    let answer = server.admin().token_admin().identify_token(secret(server.admin_key())).await;
    answer.refused(Code::InvalidArgument, ErrorReason::SecretIsACallerKey);
}
