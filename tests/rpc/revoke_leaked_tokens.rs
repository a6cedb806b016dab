//! `TokenAdmin.RevokeLeakedTokens`: when it returns, the leaked tokens are revoked, and the source of each leak is
//! recorded.

use std::time::Duration;

use tokend_client::v1::{
    Decision, DenyReason, ErrorReason, RevokeLeakedTokensRequest, RevokeLeakedTokensResponse, Role, VerifyRequest,
    revoke_leaked_tokens_request::Leak,
    revoke_leaked_tokens_response::{Kind, Label, Result as Found},
    token::State,
};
use tokend_tests::{
    Installation, Records, Refused, Server, StoredRecord, on_both_databases, on_postgres, question, token_in,
};
use tonic::{Code, Status};

on_both_databases!(
    each_string_of_a_mixed_batch_is_classified,
    the_token_and_the_record_have_the_source_of_the_leak,
    inactive_tokens_are_true_positives,
    a_tampered_row_is_an_error_and_the_others_are_revoked,
    an_invalid_field_is_named,
);

/// Tests with row and table locks, which SQLite does not have.
mod locked {
    use super::*;

    on_postgres!(
        a_locked_workspace_does_not_block_other_revocations,
        a_failed_lookup_fails_the_call
    );

    async fn a_locked_workspace_does_not_block_other_revocations(installation: Installation) {
        let server = installation.start().await;
        let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
        let (first, second) = (
            server.token(token_in(&acme)).await,
            server.token(token_in(&other)).await,
        );
        let mut blocker = Records::of_installation(&installation).await;
        blocker
            .execute("BEGIN; SELECT 1 FROM workspaces WHERE id = 'acme' FOR UPDATE")
            .await;
        let leaks = || report(vec![leak(&first.secret), leak("junk"), leak(&second.secret)]);
        let answer = server.admin().token_admin().revoke_leaked_tokens(leaks()).await;
        answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
        assert_eq!(
            denied(&server, question(&second.secret, &other, &[])).await,
            DenyReason::Revoked,
            "its workspace is not locked"
        );
        blocker.execute("ROLLBACK").await;
        server
            .admin()
            .token_admin()
            .revoke_leaked_tokens(leaks())
            .await
            .expect("the call can be repeated");
        assert_eq!(
            denied(&server, question(&first.secret, &acme, &[])).await,
            DenyReason::Revoked
        );
    }

    async fn a_failed_lookup_fails_the_call(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let mut blocker = Records::of_installation(&installation).await;
        blocker
            .execute("BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE")
            .await;
        let answer = server
            .admin()
            .token_admin()
            .revoke_leaked_tokens(report(vec![leak("junk"), leak(&token.secret)]))
            .await;
        answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
        blocker.execute("ROLLBACK").await;
        assert_eq!(server.get_token(&token.public.name).await.state(), State::Active);
    }
}

pub(crate) fn leak(secret: &str) -> Leak {
    Leak {
        secret: secret.to_owned(),
        url: "https://gist.example/1".to_owned(),
        source: "gist".to_owned(),
    }
}

fn report(leaks: Vec<Leak>) -> RevokeLeakedTokensRequest {
    RevokeLeakedTokensRequest { leaks, no_wait: false }
}

/// Reports leaks as a caller with the role REVOKER.
pub(crate) async fn try_as_intake(server: &Server, leaks: Vec<Leak>) -> Result<RevokeLeakedTokensResponse, Status> {
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let intake = server.client(&intake.secret).await;
    Ok(intake
        .token_admin()
        .revoke_leaked_tokens(report(leaks))
        .await?
        .into_inner())
}

pub(crate) async fn revoke_leaked(server: &Server, leaks: Vec<Leak>) -> RevokeLeakedTokensResponse {
    server
        .admin()
        .token_admin()
        .revoke_leaked_tokens(report(leaks))
        .await
        .expect("RevokeLeakedTokens succeeds")
        .into_inner()
}

pub(crate) fn token_of_ours(name: &str) -> Found {
    Found {
        label: Label::TruePositive.into(),
        token: name.to_owned(),
        kind: Kind::WorkspaceToken.into(),
        caller_key: String::new(),
        others: Vec::new(),
    }
}

pub(crate) fn foreign() -> Found {
    Found {
        label: Label::FalsePositive.into(),
        ..Default::default()
    }
}

pub(crate) async fn denied(server: &Server, question: VerifyRequest) -> DenyReason {
    server.verdict(question).await.deny_reason()
}

async fn each_string_of_a_mixed_batch_is_classified(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (good, bystander) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let (elsewhere, revoked) = (
        server.token(token_in(&other)).await,
        server.token(token_in(&other)).await,
    );
    server.revoke(&revoked.public.name).await;
    let truncated = &bystander.secret[..73];
    let strings = [
        "",
        "garbage",
        &format!("\t {}\r\n", good.secret),
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        &elsewhere.secret,
        truncated,
        &revoked.secret,
        &bystander.secret.to_uppercase(),
        server.admin_key(),
    ];
    let answer = try_as_intake(&server, strings.map(leak).to_vec())
        .await
        .expect("no string is an error");
    let [names @ .., key] = answer.results.as_slice() else {
        panic!("results are expected")
    };
    let expected = [
        foreign(),
        foreign(),
        token_of_ours(&good.public.name),
        foreign(),
        token_of_ours(&elsewhere.public.name),
        foreign(),
        token_of_ours(&revoked.public.name),
        foreign(),
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (key.label(), key.kind(), key.token.as_str()),
        (Label::TruePositive, Kind::CallerKey, "")
    );
    assert!(key.caller_key.starts_with("callers/admin/keys/"), "{key:?}");
    for (secret, workspace) in [
        (&good.secret, &acme),
        (&elsewhere.secret, &other),
        (&revoked.secret, &other),
    ] {
        assert_eq!(
            denied(&server, question(secret, workspace, &[])).await,
            DenyReason::Revoked
        );
    }
    assert_eq!(
        server.verdict(question(&bystander.secret, &acme, &[])).await.decision(),
        Decision::Allow,
        "the token was not reported"
    );
}

async fn the_token_and_the_record_have_the_source_of_the_leak(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let url = format!("https://example.com/log?header={}&page=2", token.secret);
    let found = Leak {
        secret: token.secret.clone(),
        url,
        source: "CI log".to_owned(),
    };
    try_as_intake(&server, vec![found])
        .await
        .expect("RevokeLeakedTokens succeeds");

    let (kept, secret_part) = token.secret.split_at("tkdw_".len() + 19);
    let reason = format!("leaked: source CI log, at https://example.com/log?header={kept}...&page=2");
    let revoked = server.get_token(&token.public.name).await;
    assert_eq!(
        (revoked.state(), revoked.revoke_reason.as_str()),
        (State::Revoked, reason.as_str())
    );
    assert_eq!(revoked.revoker, "callers/leak-intake");
    let StoredRecord {
        kind,
        caller,
        resource,
        reason: recorded,
        detail,
        ..
    } = records.of("acme").await.pop().expect("an audit record");
    assert_eq!(
        [kind, caller, resource],
        ["token.revoked", "callers/leak-intake", token.public.name.as_str()]
    );
    assert_eq!(recorded, reason);
    assert_eq!(detail, format!("reported as {reason}"));
    for record in records.all().await {
        assert!(
            !format!("{record:?}").contains(secret_part),
            "the secret is not recorded: {record:?}"
        );
    }
}

async fn inactive_tokens_are_true_positives(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (revoked, expired) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let first = server.revoke(&revoked.public.name).await;
    installation.clock().set_ahead(Duration::from_secs(2 * 3_600));
    let mut records = Records::of_installation(&installation).await;
    // That the other token has expired may be recorded at any moment.
    let revocations = async |records: &mut Records| {
        let all = records.all().await;
        all.iter().filter(|record| record.kind != "token.expired").count()
    };
    let before = revocations(&mut records).await;
    let answer = revoke_leaked(&server, vec![leak(&revoked.secret)]).await;
    assert_eq!(answer.results, [token_of_ours(&revoked.public.name)]);
    assert_eq!(
        server.get_token(&revoked.public.name).await,
        first.token.expect("a token"),
        "the first revocation is not overwritten"
    );
    assert_eq!(revocations(&mut records).await, before, "a repetition is not recorded");
    let (first, again) = (
        first.revision.expect("a revision"),
        answer.revision.expect("a revision"),
    );
    assert!(
        again.number > first.number,
        "the repetition has its own revision: {again:?} after {first:?}"
    );

    let answer = revoke_leaked(&server, vec![leak(&expired.secret)]).await;
    assert_eq!(answer.results, [token_of_ours(&expired.public.name)]);
    assert_eq!(server.get_token(&expired.public.name).await.state(), State::Revoked);
    let of_junk = revoke_leaked(&server, vec![leak("junk")])
        .await
        .revision
        .expect("a revision");
    assert!(
        of_junk.number > again.number,
        "an answer without matches has its own revision, too"
    );
}

async fn a_tampered_row_is_an_error_and_the_others_are_revoked(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let edited = server.token(token_in(&acme)).await;
    let beside = server.token(token_in(&acme)).await;
    let elsewhere = server.token(token_in(&other)).await;
    let oldest = "SELECT min(create_time) FROM tokens";
    let edited_rows = installation
        .sql(&format!(
            "UPDATE tokens SET display_name = 'edited' WHERE create_time = ({oldest})"
        ))
        .await;
    assert_eq!(edited_rows, 1);
    let leaks = || {
        vec![
            leak(&edited.secret),
            leak("junk"),
            leak(&beside.secret),
            leak(&elsewhere.secret),
        ]
    };
    let answer = server.admin().token_admin().revoke_leaked_tokens(report(leaks())).await;
    answer.refused(Code::Internal, ErrorReason::InternalFault);
    for (token, workspace) in [(&beside, &acme), (&elsewhere, &other)] {
        assert_eq!(
            denied(&server, question(&token.secret, workspace, &[])).await,
            DenyReason::Revoked
        );
    }
    // After the row is restored, the same call revokes its token, too.
    installation.sql("UPDATE tokens SET display_name = 'ci'").await;
    let answer = revoke_leaked(&server, leaks()).await;
    assert_eq!(answer.results[0], token_of_ours(&edited.public.name));
    assert_eq!(
        denied(&server, question(&edited.secret, &acme, &[])).await,
        DenyReason::Revoked
    );
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let revoke = async |leaks: Vec<Leak>| server.admin().token_admin().revoke_leaked_tokens(report(leaks)).await;
    revoke(Vec::new()).await.refused_field("leaks");
    revoke(vec![leak("junk"); 1_001]).await.refused_field("leaks");
    for (url, source, field) in [
        ("u".repeat(2_049), String::new(), "leaks[1].url"),
        ("https://a\nb".to_owned(), String::new(), "leaks[1].url"),
        (String::new(), "s".repeat(101), "leaks[1].source"),
        (String::new(), "a\u{202e}b".to_owned(), "leaks[1].source"),
    ] {
        revoke(vec![
            leak(&token.secret),
            Leak {
                secret: token.secret.clone(),
                url,
                source,
            },
        ])
        .await
        .refused_field(field);
    }
    assert_eq!(
        server.get_token(&token.public.name).await.state(),
        State::Active,
        "nothing is changed"
    );
    let largest = Leak {
        secret: token.secret.clone(),
        url: "é".repeat(2_048),
        source: "é".repeat(100),
    };
    revoke(vec![largest]).await.expect("the limits are inclusive");
}
