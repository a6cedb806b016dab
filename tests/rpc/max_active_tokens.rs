//! `max_active_tokens`: how many tokens of a workspace may work at once, however many are asked for at once and by however many servers.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateTokenResponse, Decision, ErrorReason, ListTokensRequest, RotateTokenRequest, RotateTokenResponse,
    Token, TokenPolicy, rotate_token_request::Expiry, token::State, token_policy::ExistingTokens,
};
use tokend_tests::{Installation, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

on_both_databases!(
    of_many_at_once_as_many_as_may_are_made,
    what_works_counts,
    what_a_deadline_has_ended_does_not_count,
    the_smaller_cap_counts_and_for_each_workspace,
    a_rotation_at_the_cap_works,
    rotations_add_up_to_nothing,
    a_predecessor_counts_once_its_successor_has_ended,
    an_overlap_is_not_longer_than_any_token_may_live,
    an_expired_token_is_rotated_where_one_can_be_made,
    a_retry_at_the_cap_is_answered,
);

const HOUR: Duration = Duration::from_secs(3_600);

fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().expect("a span"))
}

fn cap(parent: &str, most: i32) -> TokenPolicy {
    TokenPolicy { name: format!("{parent}/tokenPolicy"), max_active_tokens: Some(most), ..Default::default() }
}

/// Sets a policy, and tells its name.
async fn set(server: &Server, policy: TokenPolicy) -> String {
    server.set_policy(policy).await.policy.expect("told").name
}

async fn create(server: &Server, request: CreateTokenRequest) -> Result<Response<CreateTokenResponse>, Status> {
    server.admin().token_admin().create_token(request).await
}

/// One more is refused, for this policy.
async fn is_full(server: &Server, workspace: &str, policy: &str) {
    let status = create(server, token_in(workspace)).await.expect_err("it is full");
    let quota = status.get_details_quota_failure().expect("the policy is named").violations;
    assert_eq!(quota.iter().map(|violation| violation.subject.as_str()).collect::<Vec<_>>(), [policy]);
    assert!(status.get_details_precondition_failure().is_none(), "{status:?}");
    let told = Err::<Response<()>, _>(status).refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
    assert_eq!(told.retry_after, None, "time alone does not help");
}

fn rotation(name: &str, overlap: Duration) -> RotateTokenRequest {
    RotateTokenRequest { name: name.to_owned(), overlap: span(overlap), ..Default::default() }
}

async fn rotate(server: &Server, request: RotateTokenRequest) -> Result<Response<RotateTokenResponse>, Status> {
    server.admin().token_admin().rotate_token(request).await
}

async fn successor(server: &Server, request: RotateTokenRequest) -> Token {
    rotate(server, request).await.expect("it is rotated").into_inner().token.expect("told")
}

async fn list(server: &Server, workspace: &str) -> Vec<Token> {
    let list = ListTokensRequest { parent: workspace.to_owned(), ..Default::default() };
    server.admin().token_admin().list_tokens(list).await.expect("a list").into_inner().tokens
}

async fn of_many_at_once_as_many_as_may_are_made(installation: Installation) {
    const AT_ONCE: usize = 50;
    const MOST: usize = 20;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 20)).await;
    // Each on a connection of its own, so that nothing puts them in a row; on PostgreSQL on two servers.
    let replica = if installation.postgres().is_some() { Some(installation.serve(server.admin_key()).await) } else { None };
    let mut calls = Vec::new();
    for n in 0..AT_ONCE {
        let server = replica.as_ref().filter(|_| n % 2 == 1).unwrap_or(&server);
        let client = server.client(server.admin_key()).await;
        let request = CreateTokenRequest { request_id: n.to_string(), ..token_in(&acme) };
        calls.push(tokio::spawn(async move {
            loop {
                match client.token_admin().create_token(request.clone()).await {
                    // A busy machine is told so; nothing is known of the outcome, and the same request is safe to send again.
                    Err(status) if status.code() == Code::Unavailable => {}
                    definite => return definite,
                }
            }
        }));
    }
    let (mut made, mut refused) = (0, 0);
    for call in calls {
        match call.await.expect("it does not panic") {
            Ok(_) => made += 1,
            late => {
                late.refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
                refused += 1;
            }
        }
    }
    assert_eq!((made, refused), (MOST, AT_ONCE - MOST));
    assert_eq!(list(&server, &acme).await.len(), MOST);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 20);
    is_full(&server, &acme, &policy).await;
}

async fn what_works_counts(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 3)).await;
    let short = server.token(token_in(&acme)).await.public.name;
    let long = || CreateTokenRequest { expiry: after(10 * HOUR), ..token_in(&acme) };
    let revoked = server.token(long()).await.public.name;
    server.token(long()).await;
    is_full(&server, &acme, &policy).await;
    server.revoke(&revoked).await;
    server.token(long()).await;
    is_full(&server, &acme, &policy).await;
    // Expired from the very moment on.
    installation.clock().set_ahead(HOUR);
    assert_eq!(server.get_token(&short).await.state(), State::Expired);
    server.token(long()).await;
    is_full(&server, &acme, &policy).await;
    // More may be set, and fewer: what works goes on, and nothing is added before room is made.
    server.set_policy(cap(&acme, 4)).await;
    let last = server.token(long()).await.public.name;
    server.set_policy(cap(&acme, 1)).await;
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 4);
    for token in list(&server, &acme).await.iter().filter(|token| token.state() == State::Active && token.name != last) {
        is_full(&server, &acme, &policy).await;
        server.revoke(&token.name).await;
    }
    is_full(&server, &acme, &policy).await;
    server.revoke(&last).await;
    server.token(long()).await;
    is_full(&server, &acme, &policy).await;
}

async fn what_a_deadline_has_ended_does_not_count(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..2 {
        server.token(CreateTokenRequest { expiry: after(1_000 * HOUR), ..token_in(&acme) }).await;
    }
    let applied = TokenPolicy { max_lifetime: span(2 * HOUR), existing_tokens: ExistingTokens::Apply.into(), ..cap(&acme, 2) };
    let policy = set(&server, applied).await;
    is_full(&server, &acme, &policy).await;
    installation.clock().set_ahead(3 * HOUR);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
    for _ in 0..2 {
        server.token(token_in(&acme)).await;
    }
    is_full(&server, &acme, &policy).await;
}

async fn the_smaller_cap_counts_and_for_each_workspace(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let [acme, beta] = [server.workspace_in("acme", &initech).await, server.workspace_in("beta", &initech).await];
    let whole = set(&server, cap(&initech, 2)).await;
    for workspace in [&acme, &beta] {
        for _ in 0..2 {
            server.token(token_in(workspace)).await;
        }
        is_full(&server, workspace, &whole).await;
    }
    // A larger one of its own does not help, a smaller one counts.
    server.set_policy(cap(&acme, 3)).await;
    is_full(&server, &acme, &whole).await;
    let own = set(&server, cap(&beta, 1)).await;
    is_full(&server, &beta, &own).await;
    let own = set(&server, cap(&beta, 2)).await;
    is_full(&server, &beta, &format!("{whole}, {own}")).await;
}

/// A predecessor makes room for its successor, at once and for good.
async fn a_rotation_at_the_cap_works(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 2)).await;
    let first = server.token(token_in(&acme)).await.public.name;
    server.token(token_in(&acme)).await;
    let second = successor(&server, rotation(&first, HOUR / 2)).await.name;
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 3, "a state of the predecessor, too, while it works");
    is_full(&server, &acme, &policy).await;
    // However often, and where fewer may work than do.
    let third = successor(&server, rotation(&second, HOUR / 2)).await.name;
    server.set_policy(cap(&acme, 1)).await;
    let fourth = successor(&server, rotation(&third, Duration::ZERO)).await.name;
    is_full(&server, &acme, &policy).await;
    // Revoking a predecessor makes no room that it did not take; revoking a successor does.
    server.revoke(&first).await;
    server.set_policy(cap(&acme, 2)).await;
    is_full(&server, &acme, &policy).await;
    server.revoke(&fourth).await;
    server.token(token_in(&acme)).await;
    is_full(&server, &acme, &policy).await;
}

/// However often a token is rotated, and with whatever overlap, two secrets of it work.
async fn rotations_add_up_to_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let first = server.token(CreateTokenRequest { expiry: after(10_000 * HOUR), ..token_in(&acme) }).await;
    let (mut name, mut secrets) = (first.public.name, vec![first.secret]);
    rotate(&server, rotation(&name, 365 * 24 * HOUR)).await.refused_field("overlap");
    for _ in 0..20 {
        let answer = rotate(&server, rotation(&name, 30 * 24 * HOUR)).await.expect("it is rotated").into_inner();
        name = answer.token.expect("told").name;
        secrets.push(answer.secret);
    }
    let mut working = Vec::new();
    for (index, secret) in secrets.iter().enumerate() {
        if server.verdict(question(secret, &acme, &[])).await.decision() == Decision::Allow {
            working.push(index);
        }
    }
    assert_eq!(working, [19, 20]);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 2);
    is_full(&server, &acme, &policy).await;
}

/// Else each token that is rotated and whose successor is revoked would leave one more that works.
async fn a_predecessor_counts_once_its_successor_has_ended(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let long = || CreateTokenRequest { expiry: after(1_000 * HOUR), ..token_in(&acme) };
    let first = server.token(long()).await.public.name;
    let second = successor(&server, rotation(&first, 100 * HOUR)).await.name;
    is_full(&server, &acme, &policy).await;
    server.revoke(&second).await;
    is_full(&server, &acme, &policy).await;
    server.revoke(&first).await;
    let third = server.token(long()).await.public.name;
    // Likewise where it has expired. It can be rotated at the cap nevertheless: what it had replaced ends by that.
    let short = RotateTokenRequest { expiry: ttl(HOUR), ..rotation(&third, 100 * HOUR) };
    let fourth = successor(&server, short).await.name;
    installation.clock().set_ahead(2 * HOUR);
    assert_eq!((server.get_token(&third).await.state(), server.get_token(&fourth).await.state()), (State::Active, State::Expired));
    is_full(&server, &acme, &policy).await;
    let fifth = successor(&server, rotation(&fourth, HOUR)).await.name;
    assert_eq!((server.get_token(&third).await.state(), server.get_token(&fifth).await.state()), (State::Expired, State::Active));
    is_full(&server, &acme, &policy).await;
}

fn ttl(ttl: Duration) -> Option<Expiry> {
    Some(Expiry::Ttl(ttl.try_into().expect("a span")))
}

async fn an_overlap_is_not_longer_than_any_token_may_live(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let tokens = [server.token(token_in(&acme)).await.public.name, server.token(token_in(&acme)).await.public.name];
    server.set_policy(TokenPolicy { max_lifetime: span(HOUR / 3), ..cap(&initech, 5) }).await;
    let rotation = |name: &str, overlap| RotateTokenRequest { expiry: ttl(HOUR / 6), ..rotation(name, overlap) };
    rotate(&server, rotation(&tokens[0], HOUR / 3 + Duration::from_micros(1))).await.refused_field("overlap");
    assert_eq!(server.get_token(&tokens[0]).await.rotated_to, "");
    let span_of = async |request: RotateTokenRequest| {
        let answer = rotate(&server, request).await.expect("it is rotated").into_inner();
        let (new, old) = (answer.token.expect("told"), answer.predecessor.expect("told"));
        let time = |time: Option<prost_types::Timestamp>| time.expect("told");
        let (made, end) = (time(new.create_time), time(old.expire_time));
        assert_eq!(made.nanos, end.nanos);
        end.seconds - made.seconds
    };
    assert_eq!(span_of(rotation(&tokens[0], HOUR / 3)).await, 20 * 60);
    // Half an hour would be too long: where nothing is chosen, what the policies let be is.
    assert_eq!(span_of(RotateTokenRequest { overlap: None, ..rotation(&tokens[1], HOUR) }).await, 20 * 60);
}

/// It makes no room: nothing of it works.
async fn an_expired_token_is_rotated_where_one_can_be_made(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let expired = server.token(token_in(&acme)).await.public.name;
    installation.clock().set_ahead(2 * HOUR);
    let other = server.token(token_in(&acme)).await.public.name;
    rotate(&server, rotation(&expired, HOUR)).await.refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
    assert_eq!(server.get_token(&expired).await.rotated_to, "", "nothing is half done");
    server.revoke(&other).await;
    successor(&server, rotation(&expired, HOUR)).await;
    is_full(&server, &acme, &policy).await;
}

async fn a_retry_at_the_cap_is_answered(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let request = CreateTokenRequest { request_id: "once".to_owned(), ..token_in(&acme) };
    let made = server.token(request.clone()).await.public;
    assert_eq!(server.token(request).await.public, made);
    is_full(&server, &acme, &policy).await;
}
