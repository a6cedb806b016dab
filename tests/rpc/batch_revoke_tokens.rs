//! `TokenAdmin.BatchRevokeTokens`: many tokens at once, in calls that leave room for others.

use std::{collections::BTreeSet, time::Duration};

use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchRevokeTokensResponse, CreateTokenRequest, Decision, DenyReason, ErrorReason, Role, Token,
    token::State,
};
use tokend_core::time::Timestamp;
use tokend_tests::{Installation, Issued, Records, Refused, Server, after, eventually, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    named_ones_are_dead_and_no_other,
    those_that_a_filter_is_true_of_are,
    idle_ones_are_found_by_their_use,
    a_preview_changes_nothing,
    a_call_ends_a_bounded_number_and_others_are_served_meanwhile,
    of_absent_and_foreign_names_nothing_is_done,
    a_revoker_knows_what_it_revokes_by_name,
    a_tampered_row_keeps_no_other_alive,
);

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn batch(server: &Server, request: BatchRevokeTokensRequest) -> Result<Response<BatchRevokeTokensResponse>, Status> {
    server.admin().token_admin().batch_revoke_tokens(request).await
}

fn named<'a>(parent: &str, tokens: impl IntoIterator<Item = &'a Issued<Token>>) -> BatchRevokeTokensRequest {
    let names = tokens.into_iter().map(|token| token.public.name.clone()).collect();
    BatchRevokeTokensRequest { parent: parent.to_owned(), names, reason: "the project is gone".to_owned(), ..Default::default() }
}

fn matching(parent: &str, filter: &str) -> BatchRevokeTokensRequest {
    BatchRevokeTokensRequest { parent: parent.to_owned(), filter: filter.to_owned(), ..Default::default() }
}

fn of_team(workspace: &str, team: &str) -> CreateTokenRequest {
    CreateTokenRequest { labels: [("team".to_owned(), team.to_owned())].into(), ..token_in(workspace) }
}

fn names(tokens: &[Token]) -> BTreeSet<&str> {
    tokens.iter().map(|token| token.name.as_str()).collect()
}

async fn is_allowed(server: &Server, workspace: &str, token: &Issued<Token>) -> bool {
    server.verdict(question(&token.secret, workspace, &[])).await.decision() == Decision::Allow
}

async fn named_ones_are_dead_and_no_other(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (first, second) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let (dead, bystander) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let known = server.revoke(&dead.public.name).await.token.expect("told");
    let mut records = Records::of_installation(&installation).await;
    let before = records.of("acme").await.len();
    let request = named(&acme, [&first, &second, &dead]);
    let answer = batch(&server, request.clone()).await.expect("they are revoked").into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (2, 0), "what was dead does not count");
    assert_eq!(names(&answer.tokens), [first.public.name.as_str(), &second.public.name].into());
    for token in &answer.tokens {
        assert_eq!((token.state(), token.revoke_reason.as_str()), (State::Revoked, "the project is gone"));
        assert_eq!(*token, server.get_token(&token.name).await);
    }
    for token in [&first, &second] {
        assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(), DenyReason::Revoked);
    }
    assert!(is_allowed(&server, &acme, &bystander).await);
    assert_eq!(server.get_token(&dead.public.name).await, known, "nothing is overwritten");
    let told = records.of("acme").await.split_off(before);
    let told: Vec<_> = told.iter().map(|record| (record.kind.as_str(), record.reason.as_str())).collect();
    assert_eq!(told, [("token.revoked", "the project is gone"); 2], "each is on record");

    let again = batch(&server, request).await.expect("it is OK").into_inner();
    assert_eq!((again.revoked_count, again.remaining_count, again.tokens.len()), (0, 0, 0));
    let (first, again) = (answer.revision.expect("told"), again.revision.expect("told"));
    assert!(again.number > first.number, "that they are dead is told at a revision of its own: {again:?} after {first:?}");
}

async fn those_that_a_filter_is_true_of_are(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (web, app) = (server.token(of_team(&acme, "web")).await, server.token(of_team(&acme, "app")).await);
    let elsewhere = server.token(of_team(&other, "web")).await;
    let answer = batch(&server, matching(&acme, "labels.team = web")).await.expect("it is revoked").into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (1, 0));
    assert_eq!(names(&answer.tokens), [web.public.name.as_str()].into());
    assert!(!is_allowed(&server, &acme, &web).await);
    assert!(is_allowed(&server, &acme, &app).await && is_allowed(&server, &other, &elsewhere).await);
    let again = batch(&server, matching(&acme, "labels.team = web")).await.expect("it is OK").into_inner();
    assert_eq!((again.revoked_count, again.remaining_count), (0, 0), "revoked ones are not chosen again");
    assert!(again.revision.expect("told").number > answer.revision.expect("told").number);

    let project = format!("{acme}/projects/web");
    let below = CreateTokenRequest { resource: format!("{project}/repositories/site"), ..token_in(&acme) };
    let below = server.token(below).await;
    let gone = batch(&server, matching(&acme, &format!("resource:{project}"))).await.expect("they are revoked").into_inner();
    assert_eq!(names(&gone.tokens), [below.public.name.as_str()].into(), "a project that was deleted elsewhere");
}

/// What people tidy up with: those that nobody uses, but for the ones that were made lately.
async fn idle_ones_are_found_by_their_use(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let for_days = || CreateTokenRequest { expiry: after(DAY * 30), ..token_in(&acme) };
    let (idle, used) = (server.token(for_days()).await, server.token(for_days()).await);
    assert!(is_allowed(&server, &acme, &used).await);
    installation.clock().set_ahead(DAY);
    let lately = server.token(for_days()).await;
    let create_time = lately.public.create_time.expect("told");
    let create_time = Timestamp::from_unix_seconds(create_time.seconds, create_time.nanos.cast_unsigned()).expect("a time");
    eventually("the use is recorded", async || server.get_token(&used.public.name).await.last_used_time.is_some().then_some(()))
        .await;
    let filter = format!("unused = true AND create_time < {create_time}");
    let preview = BatchRevokeTokensRequest { validate_only: true, ..matching(&acme, &filter) };
    for request in [preview, matching(&acme, &filter)] {
        let answer = batch(&server, request).await.expect("one is found").into_inner();
        assert_eq!((names(&answer.tokens), answer.remaining_count), ([idle.public.name.as_str()].into(), 0));
    }
    assert!(!is_allowed(&server, &acme, &idle).await);
    for token in [&used, &lately] {
        assert!(is_allowed(&server, &acme, token).await);
    }
}

async fn a_preview_changes_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (web, app) = (server.token(of_team(&acme, "web")).await, server.token(of_team(&acme, "app")).await);
    let mut records = Records::of_installation(&installation).await;
    let before = records.all().await.len();
    for request in [matching(&acme, "labels.team = web"), named(&acme, [&web])] {
        let preview = BatchRevokeTokensRequest { validate_only: true, ..request };
        let answer = batch(&server, preview).await.expect("it would work").into_inner();
        assert_eq!((answer.revoked_count, answer.remaining_count, answer.revision), (1, 0, None));
        assert_eq!((answer.tokens.len(), answer.tokens.first()), (1, Some(&web.public)), "as it is");
    }
    assert!(is_allowed(&server, &acme, &web).await && is_allowed(&server, &acme, &app).await);
    assert_eq!(records.all().await.len(), before);
}

async fn a_call_ends_a_bounded_number_and_others_are_served_meanwhile(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let mut makers = Vec::new();
    for _ in 0..8 {
        let (mut admin, request) = (server.admin().token_admin(), token_in(&acme));
        makers.push(tokio::spawn(async move {
            for _ in 0..126 {
                admin.create_token(request.clone()).await.expect("a token is made");
            }
        }));
    }
    for maker in makers {
        maker.await.expect("it does not panic");
    }
    let mut admin = server.admin().token_admin();
    let request = matching(&acme, "state = ACTIVE");
    let call = tokio::spawn(async move { admin.batch_revoke_tokens(request).await });
    let mut records = Records::of_installation(&installation).await;
    let ended = "SELECT count(*) FROM tokens WHERE workspace = 'acme' AND revoke_time IS NOT NULL";
    let mut served = 0;
    while !call.is_finished() {
        let token = server.token(token_in(&other)).await;
        assert!(is_allowed(&server, &other, &token).await);
        served += i32::from((1..1_000).contains(&records.count(ended).await));
    }
    assert!(served >= 3, "{served} times another workspace was served when some tokens were dead and others not yet");
    let answer = call.await.expect("it does not panic").expect("they are revoked").into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (1_000, 8));
    assert!(answer.tokens.len() > 500, "as many as an answer can hold");
    let answer = batch(&server, matching(&acme, "state = ACTIVE")).await.expect("the rest").into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (8, 0));
}

async fn of_absent_and_foreign_names_nothing_is_done(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let (mine, foreign) = (server.token(token_in(&acme)).await, server.token(token_in(&other)).await);
    let with = |name: String| {
        let mut request = named(&acme, [&mine]);
        request.names.push(name);
        request
    };
    let absent = format!("{acme}/tokens/00000000001000002");
    let failure = batch(&server, with(absent.clone())).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    assert!(failure.message.contains(&absent), "{failure:?}");
    batch(&server, with(foreign.public.name.clone())).await.refused_field("names[1]");
    batch(&server, with(mine.public.name.clone())).await.refused_field("names[1]");
    batch(&server, BatchRevokeTokensRequest { filter: "state = ACTIVE".to_owned(), ..named(&acme, [&mine]) })
        .await
        .refused_field("filter");
    batch(&server, matching(&acme, "")).await.refused_field("names");
    batch(&server, matching("workspaces/nobody", "state = ACTIVE")).await.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    assert!(is_allowed(&server, &acme, &mine).await && is_allowed(&server, &other, &foreign).await);
}

async fn a_revoker_knows_what_it_revokes_by_name(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let intake = server.caller("leak-intake", Role::Revoker).await;
    let intake = server.client(&intake.secret).await;
    let by_filter = intake.token_admin().batch_revoke_tokens(matching(&acme, "state = ACTIVE")).await;
    by_filter.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    assert!(is_allowed(&server, &acme, &token).await);
    let by_name = intake.token_admin().batch_revoke_tokens(named(&acme, [&token])).await.expect("it may").into_inner();
    assert_eq!(by_name.tokens[0].revoker, "callers/leak-intake");
}

async fn a_tampered_row_keeps_no_other_alive(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (edited, beside) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let oldest = "SELECT min(create_time) FROM tokens";
    installation.sql(&format!("UPDATE tokens SET display_name = 'edited' WHERE create_time = ({oldest})")).await;
    let answer = batch(&server, matching(&acme, "state = ACTIVE")).await.expect("one can be revoked").into_inner();
    assert_eq!((answer.revoked_count, answer.remaining_count), (1, 1), "it is not done");
    assert!(!is_allowed(&server, &acme, &beside).await);
    // Nothing else is left: who repeats the call until it is done is told.
    batch(&server, matching(&acme, "state = ACTIVE")).await.refused(Code::Internal, ErrorReason::InternalFault);
    installation.sql("UPDATE tokens SET display_name = 'ci'").await;
    let answer = batch(&server, matching(&acme, "state = ACTIVE")).await.expect("it is as it was").into_inner();
    assert_eq!(names(&answer.tokens), [edited.public.name.as_str()].into());
}
