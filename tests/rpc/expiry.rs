//! A token expires when `now >= expire_time` in the database's time, and stays expired.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, GetWorkspaceRequest, Token, VerifyResponse, token::State,
};
use tokend_tests::{Installation, Issued, Server, after, on_both_databases, question, token_in};

on_both_databases!(
    a_token_works_until_exactly_its_expire_time,
    the_shown_state_agrees_with_the_verdict,
    an_expired_token_does_not_count_as_active,
);

const HOUR: Duration = Duration::from_secs(3_600);

async fn verdict(server: &Server, token: &Issued<Token>) -> VerifyResponse {
    server
        .verdict(question(&token.secret, &token.public.workspace, &[]))
        .await
}

/// The verdict's `expires_in` is the remaining lifetime at the time of the verdict. It is zero exactly when the token
/// has expired.
async fn a_token_works_until_exactly_its_expire_time(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    installation.clock().set_ahead(HOUR / 2);
    assert_eq!(
        verdict(&server, &token).await.decision(),
        Decision::Allow,
        "the token is active"
    );
    // The remaining 1.5 seconds pass in real time.
    installation.clock().set_ahead(HOUR - Duration::from_millis(1_500));
    loop {
        let verdict = verdict(&server, &token).await;
        let left = verdict
            .token
            .as_ref()
            .and_then(|token| token.expires_in)
            .expect("`expires_in` is set");
        if verdict.decision() == Decision::Allow {
            assert!(
                (left.seconds, left.nanos) > (0, 0),
                "allowed with nothing left: {verdict:?}"
            );
        } else {
            assert_eq!(verdict.deny_reason(), DenyReason::Expired);
            assert_eq!(
                (left.seconds, left.nanos),
                (0, 0),
                "expired with something left: {verdict:?}"
            );
            break;
        }
    }
    assert_eq!(
        verdict(&server, &token).await.deny_reason(),
        DenyReason::Expired,
        "the token stays expired"
    );
}

async fn the_shown_state_agrees_with_the_verdict(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    for (ahead, decision, state) in [
        (HOUR - Duration::from_secs(30), Decision::Allow, State::Active),
        (HOUR, Decision::Deny, State::Expired),
        (HOUR * 24 * 80, Decision::Deny, State::Expired),
    ] {
        installation.clock().set_ahead(ahead);
        assert_eq!(verdict(&server, &token).await.decision(), decision, "{ahead:?}");
        assert_eq!(server.get_token(&token.public.name).await.state(), state, "{ahead:?}");
    }
}

async fn an_expired_token_does_not_count_as_active(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    server
        .token(CreateTokenRequest {
            expiry: after(HOUR * 3),
            ..token_in(&acme)
        })
        .await;
    let active = async || {
        let request = GetWorkspaceRequest { name: acme.clone() };
        let got = server
            .admin()
            .workspace_admin()
            .get_workspace(request)
            .await
            .expect("GetWorkspace succeeds")
            .into_inner();
        got.workspace.expect("`workspace` is set").active_token_count
    };
    assert_eq!(active().await, 2);
    installation.clock().set_ahead(HOUR * 2);
    assert_eq!(active().await, 1);
}
