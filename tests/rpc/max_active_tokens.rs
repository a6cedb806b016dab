//! `max_active_tokens` limits the active tokens of a workspace, also for concurrent calls to several servers.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateTokenResponse, ErrorReason, ListTokensRequest, Token, TokenPolicy, token::State,
    token_policy::ExistingTokens,
};
use tokend_tests::{Installation, Refused, Server, after, on_both_databases, token_in};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

on_both_databases!(
    concurrent_calls_do_not_exceed_the_cap,
    only_active_tokens_count,
    a_token_past_its_deadline_does_not_count,
    the_smaller_cap_applies_to_each_workspace,
    a_retry_at_the_cap_is_answered,
);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().expect("a span"))
}

pub(crate) fn cap(parent: &str, most: i32) -> TokenPolicy {
    TokenPolicy {
        name: format!("{parent}/tokenPolicy"),
        max_active_tokens: Some(most),
        ..Default::default()
    }
}

/// Sets a policy and returns its name.
pub(crate) async fn set(server: &Server, policy: TokenPolicy) -> String {
    server.set_policy(policy).await.policy.expect("a policy").name
}

async fn create(server: &Server, request: CreateTokenRequest) -> Result<Response<CreateTokenResponse>, Status> {
    server.admin().token_admin().create_token(request).await
}

/// Asserts that one more token is refused because of this policy.
pub(crate) async fn assert_full(server: &Server, workspace: &str, policy: &str) {
    let status = create(server, token_in(workspace))
        .await
        .expect_err("the cap is reached");
    let quota = status
        .get_details_quota_failure()
        .expect("the policy is named")
        .violations;
    assert_eq!(
        quota
            .iter()
            .map(|violation| violation.subject.as_str())
            .collect::<Vec<_>>(),
        [policy]
    );
    assert!(status.get_details_precondition_failure().is_none(), "{status:?}");
    let error = Err::<Response<()>, _>(status).refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
    assert_eq!(error.retry_after, None, "a retry does not help");
}

async fn list(server: &Server, workspace: &str) -> Vec<Token> {
    let list = ListTokensRequest {
        parent: workspace.to_owned(),
        ..Default::default()
    };
    server
        .admin()
        .token_admin()
        .list_tokens(list)
        .await
        .expect("ListTokens succeeds")
        .into_inner()
        .tokens
}

async fn concurrent_calls_do_not_exceed_the_cap(installation: Installation) {
    const CALLS: usize = 50;
    const CAP: usize = 20;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 20)).await;
    // Each call has its own connection, so that the calls run concurrently; on PostgreSQL there are two servers.
    let replica = if installation.postgres().is_some() {
        Some(installation.serve(server.admin_key()).await)
    } else {
        None
    };
    let mut calls = Vec::new();
    for n in 0..CALLS {
        let server = replica.as_ref().filter(|_| n % 2 == 1).unwrap_or(&server);
        let client = server.client(server.admin_key()).await;
        let request = CreateTokenRequest {
            request_id: n.to_string(),
            ..token_in(&acme)
        };
        calls.push(tokio::spawn(async move {
            loop {
                match client.token_admin().create_token(request.clone()).await {
                    // On a busy machine the outcome may be unknown; the request id makes a retry safe.
                    Err(status) if status.code() == Code::Unavailable => {}
                    outcome => return outcome,
                }
            }
        }));
    }
    let (mut created, mut refused) = (0, 0);
    for call in calls {
        match call.await.expect("the task does not panic") {
            Ok(_) => created += 1,
            answer => {
                answer.refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
                refused += 1;
            }
        }
    }
    assert_eq!((created, refused), (CAP, CALLS - CAP));
    assert_eq!(list(&server, &acme).await.len(), CAP);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 20);
    assert_full(&server, &acme, &policy).await;
}

async fn only_active_tokens_count(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 3)).await;
    let short = server.token(token_in(&acme)).await.public.name;
    let long = || CreateTokenRequest {
        expiry: after(10 * HOUR),
        ..token_in(&acme)
    };
    let revoked = server.token(long()).await.public.name;
    server.token(long()).await;
    assert_full(&server, &acme, &policy).await;
    server.revoke(&revoked).await;
    server.token(long()).await;
    assert_full(&server, &acme, &policy).await;
    // A token no longer counts from the moment it expires.
    installation.clock().set_ahead(HOUR);
    assert_eq!(server.get_token(&short).await.state(), State::Expired);
    server.token(long()).await;
    assert_full(&server, &acme, &policy).await;
    // A higher cap allows another token. A lower one revokes none, but new tokens are refused until enough are revoked.
    server.set_policy(cap(&acme, 4)).await;
    let last = server.token(long()).await.public.name;
    server.set_policy(cap(&acme, 1)).await;
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 4);
    for token in list(&server, &acme)
        .await
        .iter()
        .filter(|token| token.state() == State::Active && token.name != last)
    {
        assert_full(&server, &acme, &policy).await;
        server.revoke(&token.name).await;
    }
    assert_full(&server, &acme, &policy).await;
    server.revoke(&last).await;
    server.token(long()).await;
    assert_full(&server, &acme, &policy).await;
}

async fn a_token_past_its_deadline_does_not_count(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..2 {
        server
            .token(CreateTokenRequest {
                expiry: after(1_000 * HOUR),
                ..token_in(&acme)
            })
            .await;
    }
    let applied = TokenPolicy {
        max_lifetime: span(2 * HOUR),
        existing_tokens: ExistingTokens::Apply.into(),
        ..cap(&acme, 2)
    };
    let policy = set(&server, applied).await;
    assert_full(&server, &acme, &policy).await;
    installation.clock().set_ahead(3 * HOUR);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
    for _ in 0..2 {
        server.token(token_in(&acme)).await;
    }
    assert_full(&server, &acme, &policy).await;
}

async fn the_smaller_cap_applies_to_each_workspace(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let [acme, beta] = [
        server.workspace_in("acme", &initech).await,
        server.workspace_in("beta", &initech).await,
    ];
    let of_organization = set(&server, cap(&initech, 2)).await;
    for workspace in [&acme, &beta] {
        for _ in 0..2 {
            server.token(token_in(workspace)).await;
        }
        assert_full(&server, workspace, &of_organization).await;
    }
    // A larger cap of the workspace does not help; a smaller one applies.
    server.set_policy(cap(&acme, 3)).await;
    assert_full(&server, &acme, &of_organization).await;
    let own = set(&server, cap(&beta, 1)).await;
    assert_full(&server, &beta, &own).await;
    let own = set(&server, cap(&beta, 2)).await;
    assert_full(&server, &beta, &format!("{of_organization}, {own}")).await;
}

async fn a_retry_at_the_cap_is_answered(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let request = CreateTokenRequest {
        request_id: "once".to_owned(),
        ..token_in(&acme)
    };
    let created = server.token(request.clone()).await.public;
    assert_eq!(server.token(request).await.public, created);
    assert_full(&server, &acme, &policy).await;
}
