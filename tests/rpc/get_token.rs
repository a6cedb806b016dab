//! `TokenAdmin.GetToken` returns everything about a token except its secret.

use std::time::Duration;

use tokend_client::v1::{ErrorReason, GetTokenRequest, token::State};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(
    expired_and_revoked_tokens_are_shown_as_such,
    an_absent_token_is_not_found,
    an_invalid_name_is_refused
);

async fn expired_and_revoked_tokens_are_shown_as_such(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (expiring, revoked) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.revoke(&revoked.public.name).await;
    assert_eq!(server.get_token(&expiring.public.name).await.state(), State::Active);

    installation.clock().set_ahead(Duration::from_secs(2 * 3_600));
    assert_eq!(server.get_token(&expiring.public.name).await.state(), State::Expired);
    assert_eq!(
        server.get_token(&revoked.public.name).await.state(),
        State::Revoked,
        "revoked takes precedence over expired"
    );
}

async fn an_absent_token_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let in_other = token.replacen(&acme, &other, 1);
    let in_none = token.replacen(&acme, "workspaces/nobody", 1);
    for name in [in_other, in_none, format!("{acme}/tokens/{}", "0".repeat(17))] {
        let answer = server.admin().token_admin().get_token(GetTokenRequest { name }).await;
        answer.refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
}

async fn an_invalid_name_is_refused(installation: Installation) {
    let server = installation.start().await;
    for name in [
        "",
        "acme",
        "workspaces/acme",
        "workspaces/acme/tokens/",
        "workspaces/acme/tokens/short",
        "tokens/00000000001000002",
    ] {
        let answer = server
            .admin()
            .token_admin()
            .get_token(GetTokenRequest { name: name.to_owned() })
            .await;
        answer.refused_field("name");
    }
}
