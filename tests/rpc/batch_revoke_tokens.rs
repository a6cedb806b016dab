//! `TokenAdmin.BatchRevokeTokens` revokes many tokens in one call, without blocking other calls.

use std::{collections::BTreeSet, time::Duration};

use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchRevokeTokensResponse, CreateTokenRequest, Decision, DenyReason, ErrorReason, Role,
    Token, token::State,
};
use tokend_core::time::Timestamp;
use tokend_tests::{
    Installation, Issued, Records, Refused, Server, after, eventually, on_both_databases, question, token_in,
};
use tonic::{Code, Response, Status};

on_both_databases!(
    only_the_named_tokens_are_revoked,
    only_tokens_that_match_the_filter_are_revoked,
    a_filter_finds_unused_tokens,
    a_preview_changes_nothing,
    a_call_revokes_a_bounded_number_while_others_are_served,
    absent_and_foreign_names_revoke_nothing,
    a_revoker_revokes_by_name_and_not_by_filter,
    a_tampered_row_does_not_block_other_revocations,
);

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn batch(
    server: &Server,
    request: BatchRevokeTokensRequest,
) -> Result<Response<BatchRevokeTokensResponse>, Status> {
    server.admin().token_admin().batch_revoke_tokens(request).await
}

fn named<'a>(parent: &str, tokens: impl IntoIterator<Item = &'a Issued<Token>>) -> BatchRevokeTokensRequest {
    let names = tokens.into_iter().map(|token| token.public.name.clone()).collect();
    BatchRevokeTokensRequest {
        parent: parent.to_owned(),
        names,
        reason: "the project is gone".to_owned(),
        ..Default::default()
    }
}

fn matching(parent: &str, filter: &str) -> BatchRevokeTokensRequest {
    BatchRevokeTokensRequest {
        parent: parent.to_owned(),
        filter: filter.to_owned(),
        ..Default::default()
    }
}

fn of_team(workspace: &str, team: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        labels: [("team".to_owned(), team.to_owned())].into(),
        ..token_in(workspace)
    }
}

fn names(tokens: &[Token]) -> BTreeSet<&str> {
    tokens.iter().map(|token| token.name.as_str()).collect()
}

async fn is_allowed(server: &Server, workspace: &str, token: &Issued<Token>) -> bool {
    server.verdict(question(&token.secret, workspace, &[])).await.decision() == Decision::Allow
}

async fn only_the_named_tokens_are_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (first, second) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let (revoked, bystander) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let known = server.revoke(&revoked.public.name).await.token.expect("`token` is set");
    let mut records = Records::of_installation(&installation).await;
    let before = records.of("acme").await.len();
    let request = named(&acme, [&first, &second, &revoked]);
    let answer = batch(&server, request.clone())
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(
        (answer.revoked_count, answer.remaining_count),
        (2, 0),
        "tokens that were revoked before do not count"
    );
    assert_eq!(
        names(&answer.tokens),
        [first.public.name.as_str(), &second.public.name].into()
    );
    for token in &answer.tokens {
        assert_eq!(
            (token.state(), token.revoke_reason.as_str()),
            (State::Revoked, "the project is gone")
        );
        assert_eq!(*token, server.get_token(&token.name).await);
    }
    for token in [&first, &second] {
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
            DenyReason::Revoked
        );
    }
    assert!(is_allowed(&server, &acme, &bystander).await);
    assert_eq!(
        server.get_token(&revoked.public.name).await,
        known,
        "the earlier revocation is not overwritten"
    );
    let recorded = records.of("acme").await.split_off(before);
    let recorded: Vec<_> = recorded
        .iter()
        .map(|record| (record.kind.as_str(), record.reason.as_str()))
        .collect();
    assert_eq!(
        recorded,
        [("token.revoked", "the project is gone"); 2],
        "each revocation is recorded"
    );

    let again = batch(&server, request)
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(
        (again.revoked_count, again.remaining_count, again.tokens.len()),
        (0, 0, 0)
    );
    let (first, again) = (
        answer.revision.expect("`revision` is set"),
        again.revision.expect("`revision` is set"),
    );
    assert!(
        again.number > first.number,
        "a repeated call has a new revision: {again:?} after {first:?}"
    );
}

async fn only_tokens_that_match_the_filter_are_revoked(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (web, app) = (
        server.token(of_team(&acme, "web")).await,
        server.token(of_team(&acme, "app")).await,
    );
    let elsewhere = server.token(of_team(&other, "web")).await;
    let answer = batch(&server, matching(&acme, "labels.team = web"))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (1, 0));
    assert_eq!(names(&answer.tokens), [web.public.name.as_str()].into());
    assert!(!is_allowed(&server, &acme, &web).await);
    assert!(is_allowed(&server, &acme, &app).await && is_allowed(&server, &other, &elsewhere).await);
    let again = batch(&server, matching(&acme, "labels.team = web"))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(
        (again.revoked_count, again.remaining_count),
        (0, 0),
        "revoked tokens do not match again"
    );
    assert!(again.revision.expect("`revision` is set").number > answer.revision.expect("`revision` is set").number);

    let project = format!("{acme}/projects/web");
    let below = CreateTokenRequest {
        resource: format!("{project}/repositories/site"),
        ..token_in(&acme)
    };
    let below = server.token(below).await;
    let gone = batch(&server, matching(&acme, &format!("resource:{project}")))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(
        names(&gone.tokens),
        [below.public.name.as_str()].into(),
        "a filter can select a deleted project"
    );
}

/// A cleanup revokes the tokens that are unused, except those that were created recently.
async fn a_filter_finds_unused_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let for_days = || CreateTokenRequest {
        expiry: after(DAY * 30),
        ..token_in(&acme)
    };
    let (idle, used) = (server.token(for_days()).await, server.token(for_days()).await);
    assert!(is_allowed(&server, &acme, &used).await);
    installation.clock().set_ahead(DAY);
    let recent = server.token(for_days()).await;
    let create_time = recent.public.create_time.expect("`create_time` is set");
    let create_time = Timestamp::from_unix_seconds(create_time.seconds, create_time.nanos.cast_unsigned())
        .expect("the timestamp is valid");
    eventually("the use is recorded", async || {
        server
            .get_token(&used.public.name)
            .await
            .last_used_time
            .is_some()
            .then_some(())
    })
    .await;
    let filter = format!("unused = true AND create_time < {create_time}");
    let preview = BatchRevokeTokensRequest {
        validate_only: true,
        ..matching(&acme, &filter)
    };
    for request in [preview, matching(&acme, &filter)] {
        let answer = batch(&server, request)
            .await
            .expect("BatchRevokeTokens succeeds")
            .into_inner();
        assert_eq!(
            (names(&answer.tokens), answer.remaining_count),
            ([idle.public.name.as_str()].into(), 0)
        );
    }
    assert!(!is_allowed(&server, &acme, &idle).await);
    for token in [&used, &recent] {
        assert!(is_allowed(&server, &acme, token).await);
    }
}

async fn a_preview_changes_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (web, app) = (
        server.token(of_team(&acme, "web")).await,
        server.token(of_team(&acme, "app")).await,
    );
    let mut records = Records::of_installation(&installation).await;
    let before = records.all().await.len();
    for request in [matching(&acme, "labels.team = web"), named(&acme, [&web])] {
        let preview = BatchRevokeTokensRequest {
            validate_only: true,
            ..request
        };
        let answer = batch(&server, preview)
            .await
            .expect("BatchRevokeTokens succeeds")
            .into_inner();
        assert_eq!(
            (answer.revoked_count, answer.remaining_count, answer.revision),
            (1, 0, None)
        );
        assert_eq!(
            (answer.tokens.len(), answer.tokens.first()),
            (1, Some(&web.public)),
            "the token is returned unchanged"
        );
    }
    assert!(is_allowed(&server, &acme, &web).await && is_allowed(&server, &acme, &app).await);
    assert_eq!(records.all().await.len(), before);
}

async fn a_call_revokes_a_bounded_number_while_others_are_served(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (mut admin, request) = (server.admin().token_admin(), token_in(&acme));
        tasks.push(tokio::spawn(async move {
            for _ in 0..126 {
                admin.create_token(request.clone()).await.expect("CreateToken succeeds");
            }
        }));
    }
    for task in tasks {
        task.await.expect("the task does not panic");
    }
    let mut admin = server.admin().token_admin();
    let request = matching(&acme, "state = ACTIVE");
    let call = tokio::spawn(async move { admin.batch_revoke_tokens(request).await });
    let mut records = Records::of_installation(&installation).await;
    let revoked = "SELECT count(*) FROM tokens WHERE workspace = 'acme' AND revoke_time IS NOT NULL";
    let mut served = 0;
    while !call.is_finished() {
        let token = server.token(token_in(&other)).await;
        assert!(is_allowed(&server, &other, &token).await);
        served += i32::from((1..1_000).contains(&records.count(revoked).await));
    }
    assert!(
        served >= 3,
        "another workspace was served only {served} times during the call"
    );
    let answer = call
        .await
        .expect("the task does not panic")
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (1_000, 8));
    assert!(answer.tokens.len() > 500, "the response holds as many tokens as fit");
    let answer = batch(&server, matching(&acme, "state = ACTIVE"))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (8, 0));
}

async fn absent_and_foreign_names_revoke_nothing(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (mine, foreign) = (
        server.token(token_in(&acme)).await,
        server.token(token_in(&other)).await,
    );
    let with = |name: String| {
        let mut request = named(&acme, [&mine]);
        request.names.push(name);
        request
    };
    let absent = format!("{acme}/tokens/00000000001000002");
    let failure = batch(&server, with(absent.clone()))
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    assert!(failure.message.contains(&absent), "{failure:?}");
    batch(&server, with(foreign.public.name.clone()))
        .await
        .refused_field("names[1]");
    batch(&server, with(mine.public.name.clone()))
        .await
        .refused_field("names[1]");
    batch(
        &server,
        BatchRevokeTokensRequest {
            filter: "state = ACTIVE".to_owned(),
            ..named(&acme, [&mine])
        },
    )
    .await
    .refused_field("filter");
    batch(&server, matching(&acme, "")).await.refused_field("names");
    batch(&server, matching("workspaces/nobody", "state = ACTIVE"))
        .await
        .refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    assert!(is_allowed(&server, &acme, &mine).await && is_allowed(&server, &other, &foreign).await);
}

async fn a_revoker_revokes_by_name_and_not_by_filter(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let intake = server.client(&intake.secret).await;
    let by_filter = intake
        .token_admin()
        .batch_revoke_tokens(matching(&acme, "state = ACTIVE"))
        .await;
    by_filter.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    assert!(is_allowed(&server, &acme, &token).await);
    let by_name = intake
        .token_admin()
        .batch_revoke_tokens(named(&acme, [&token]))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(by_name.tokens[0].revoker, "callers/leak-intake");
}

async fn a_tampered_row_does_not_block_other_revocations(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (edited, untouched) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let oldest = "SELECT min(create_time) FROM tokens";
    installation
        .sql(&format!(
            "UPDATE tokens SET display_name = 'edited' WHERE create_time = ({oldest})"
        ))
        .await;
    let answer = batch(&server, matching(&acme, "state = ACTIVE"))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(
        (answer.revoked_count, answer.remaining_count),
        (1, 1),
        "the tampered token remains"
    );
    assert!(!is_allowed(&server, &acme, &untouched).await);
    // Only the tampered row is left: a client that repeats the call until it is done gets an error.
    batch(&server, matching(&acme, "state = ACTIVE"))
        .await
        .refused(Code::Internal, ErrorReason::InternalFault);
    installation.sql("UPDATE tokens SET display_name = 'ci'").await;
    let answer = batch(&server, matching(&acme, "state = ACTIVE"))
        .await
        .expect("BatchRevokeTokens succeeds")
        .into_inner();
    assert_eq!(names(&answer.tokens), [edited.public.name.as_str()].into());
}
