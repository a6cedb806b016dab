//! `TokenAdmin.RevokeToken`: when it returns, the token is denied.

use std::time::Duration;

use tokend_client::v1::{Decision, DenyReason, ErrorReason, RevokeTokenRequest, Role, token::State};
use tokend_tests::{Installation, Refused, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    a_revoked_token_is_denied_at_once,
    every_server_on_the_database_denies_the_token,
    revoking_again_changes_nothing_but_the_revision,
    an_expired_token_can_be_revoked,
    concurrent_revocations_all_succeed,
    a_revoker_may_revoke,
    an_absent_token_is_not_found,
    an_invalid_field_is_named,
);

async fn a_revoked_token_is_denied_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (leaked, other) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let answer = server.revoke(&leaked.public.name).await;
    let verdict = server.verdict(question(&leaked.secret, &acme, &[])).await;
    assert_eq!(verdict.deny_reason(), DenyReason::Revoked);
    assert_eq!(
        server.verdict(question(&other.secret, &acme, &[])).await.decision(),
        Decision::Allow,
        "other tokens are not affected"
    );

    let token = answer.token.expect("a token");
    assert_eq!(token.state(), State::Revoked);
    assert_eq!(token.revoke_reason, "it leaked");
    assert_eq!(token.revoker, token.creator, "the first caller created and revoked it");
    assert!(token.revoke_time.is_some());
    let unchanged = tokend_client::v1::Token {
        state: State::Active.into(),
        revoke_time: None,
        revoker: String::new(),
        revoke_reason: String::new(),
        ..token.clone()
    };
    assert_eq!(unchanged, leaked.public, "only the revocation changes");
    assert_eq!(server.get_token(&token.name).await, token);
}

async fn every_server_on_the_database_denies_the_token(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    if installation.postgres().is_some() {
        let replica = installation.serve(server.admin_key()).await;
        assert_eq!(
            replica.verdict(question(&token.secret, &acme, &[])).await.decision(),
            Decision::Allow
        );
        server.revoke(&token.public.name).await;
        assert_eq!(
            replica.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
            DenyReason::Revoked
        );
    } else {
        // One process at a time opens a SQLite file; the next one sees the change even after a kill.
        server.revoke(&token.public.name).await;
        let key = server.admin_key().to_owned();
        server.kill();
        let successor = installation.serve(&key).await;
        assert_eq!(
            successor
                .verdict(question(&token.secret, &acme, &[]))
                .await
                .deny_reason(),
            DenyReason::Revoked
        );
    }
}

async fn revoking_again_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = server.token(token_in(&acme)).await.public.name;
    let first = server.revoke(&name).await;

    let second_admin = server.caller("second-admin", Role::Admin).await;
    let second_admin = server.client(&second_admin.secret).await;
    let request = RevokeTokenRequest {
        name,
        reason: "once more".to_owned(),
        no_wait: true,
    };
    let again = second_admin
        .token_admin()
        .revoke_token(request)
        .await
        .expect("RevokeToken succeeds")
        .into_inner();
    assert_eq!(again.token, first.token);
    let (first, again) = (first.revision.expect("a revision"), again.revision.expect("a revision"));
    assert_eq!(first.epoch, again.epoch);
    assert!(
        again.number > first.number,
        "{again:?} is a revision of its own, after {first:?}"
    );
}

async fn an_expired_token_can_be_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    installation.clock().set_ahead(Duration::from_secs(2 * 3_600));
    assert_eq!(
        server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
        DenyReason::Expired
    );
    assert_eq!(
        server.revoke(&token.public.name).await.token.expect("a token").state(),
        State::Revoked
    );
    assert_eq!(
        server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
        DenyReason::Revoked
    );
}

async fn concurrent_revocations_all_succeed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut names = Vec::new();
    for _ in 0..8 {
        names.push(server.token(token_in(&acme)).await.public.name);
    }
    // Each token twice; each call has its own connection, so that the calls run concurrently.
    let mut calls = Vec::new();
    for name in names.iter().chain(&names) {
        let client = server.client(server.admin_key()).await;
        let request = RevokeTokenRequest {
            name: name.clone(),
            ..Default::default()
        };
        calls.push(tokio::spawn(
            async move { client.token_admin().revoke_token(request).await },
        ));
    }
    let mut numbers = Vec::new();
    for call in calls {
        let answer = call
            .await
            .expect("the task does not panic")
            .expect("RevokeToken succeeds")
            .into_inner();
        assert_eq!(answer.token.expect("a token").state(), State::Revoked);
        numbers.push(answer.revision.expect("a revision").number);
    }
    numbers.sort_unstable();
    numbers.dedup();
    let gapless: Vec<_> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(
        numbers, gapless,
        "calls that waited at the same time may share a revision"
    );
}

async fn a_revoker_may_revoke(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let intake = server.client(&intake.secret).await;
    let request = RevokeTokenRequest {
        name: token.public.name,
        reason: "found in a gist".to_owned(),
        no_wait: false,
    };
    let answer = intake
        .token_admin()
        .revoke_token(request)
        .await
        .expect("a REVOKER may revoke")
        .into_inner();
    assert_eq!(answer.token.expect("a token").revoker, "callers/leak-intake");
}

async fn an_absent_token_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    for name in [
        format!("{acme}/tokens/{}", "0".repeat(17)),
        token.public.name.replacen("acme", "nobody", 1),
    ] {
        let request = RevokeTokenRequest {
            name,
            ..Default::default()
        };
        let answer = server.admin().token_admin().revoke_token(request).await;
        answer.refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    assert_eq!(
        server.verdict(question(&token.secret, &acme, &[])).await.decision(),
        Decision::Allow
    );
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = server.token(token_in(&acme)).await.public.name;
    let revoke = async |name: &str, reason: String| {
        server
            .admin()
            .token_admin()
            .revoke_token(RevokeTokenRequest {
                name: name.to_owned(),
                reason,
                no_wait: false,
            })
            .await
    };
    revoke("", String::new()).await.refused_field("name");
    revoke(&acme, String::new()).await.refused_field("name");
    revoke(&name, "x".repeat(501)).await.refused_field("reason");
    revoke(&name, "\u{1b}[31m".to_owned()).await.refused_field("reason");
    assert_eq!(
        server.get_token(&name).await.state(),
        State::Active,
        "nothing is changed"
    );
    revoke(&name, "é".repeat(500)).await.expect("the limit is inclusive");
}
