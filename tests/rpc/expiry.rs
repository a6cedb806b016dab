//! A token has expired when `now >= expire_time`, by the database's time, and nothing revives it.

use std::time::Duration;

use tokend_client::v1::{CreateTokenRequest, Decision, DenyReason, GetWorkspaceRequest, Token, VerifyResponse, token::State};
use tokend_tests::{Installation, Issued, Server, after, on_both_databases, question, token_in};

on_both_databases!(
    it_works_until_its_last_moment_and_not_in_it,
    what_is_shown_agrees_with_the_verdict,
    an_ended_token_does_not_count_as_active,
);

const HOUR: Duration = Duration::from_secs(3_600);

async fn verdict(server: &Server, token: &Issued<Token>) -> VerifyResponse {
    server.verdict(question(&token.secret, &token.public.workspace, &[])).await
}

/// The service tells what is left of a token by the time that the verdict was made at: zero exactly when it has expired.
async fn it_works_until_its_last_moment_and_not_in_it(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    installation.clock().set_ahead(HOUR / 2);
    assert_eq!(verdict(&server, &token).await.decision(), Decision::Allow, "it is seen alive");
    // A moment before the end; the rest passes by itself.
    installation.clock().set_ahead(HOUR - Duration::from_millis(1_500));
    loop {
        let verdict = verdict(&server, &token).await;
        let left = verdict.token.as_ref().and_then(|token| token.expires_in).expect("it ends");
        if verdict.decision() == Decision::Allow {
            assert!((left.seconds, left.nanos) > (0, 0), "allowed with nothing left: {verdict:?}");
        } else {
            assert_eq!(verdict.deny_reason(), DenyReason::Expired);
            assert_eq!((left.seconds, left.nanos), (0, 0), "expired with something left: {verdict:?}");
            break;
        }
    }
    assert_eq!(verdict(&server, &token).await.deny_reason(), DenyReason::Expired, "and stays dead");
}

async fn what_is_shown_agrees_with_the_verdict(installation: Installation) {
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

async fn an_ended_token_does_not_count_as_active(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    server.token(CreateTokenRequest { expiry: after(HOUR * 3), ..token_in(&acme) }).await;
    let active = async || {
        let request = GetWorkspaceRequest { name: acme.clone() };
        let got = server.admin().workspace_admin().get_workspace(request).await.expect("it is there").into_inner();
        got.workspace.expect("it is told").active_token_count
    };
    assert_eq!(active().await, 2);
    installation.clock().set_ahead(HOUR * 2);
    assert_eq!(active().await, 1);
}
