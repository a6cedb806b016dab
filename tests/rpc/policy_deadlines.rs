//! A policy with APPLY limits existing tokens, too: none outlives its deadline, no later edit revives an expired token,
//! and saving the same policy again does not postpone the deadline.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, IdentifyTokenRequest, ListTokensRequest, Token, TokenPolicy,
    VerifyResponse,
    token::State,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Issued, Server, after, max_lifetime, on_both_databases, question, token_in};

on_both_databases!(
    every_answer_respects_the_deadline,
    an_organizations_deadline_applies_to_all_its_workspaces,
    the_earlier_of_two_deadlines_applies,
    saving_again_does_not_postpone_the_deadline,
    a_shorter_lifetime_does_not_postpone_the_deadline,
    keep_removes_a_future_deadline,
    no_edit_revives_an_expired_token,
    a_passed_deadline_stays_passed_after_a_restart,
);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Creates a token with a lifetime of a day.
pub(crate) async fn token(server: &Server, workspace: &str) -> Issued<Token> {
    server
        .token(CreateTokenRequest {
            expiry: after(HOUR * 24),
            ..token_in(workspace)
        })
        .await
}

pub(crate) async fn verdict(server: &Server, token: &Issued<Token>) -> VerifyResponse {
    server
        .verdict(question(&token.secret, &token.public.workspace, &[]))
        .await
}

/// Sets a policy, and returns how many tokens expire earlier because of it.
pub(crate) async fn set(server: &Server, policy: TokenPolicy) -> i64 {
    server.set_policy(policy).await.affected_count
}

/// Returns the expiry of the token, in seconds after the policy of `owner` was set.
async fn seconds_from_policy_to_expiry(server: &Server, token: &Issued<Token>, owner: &str) -> i64 {
    let set = server
        .get_policy(owner)
        .await
        .policy
        .and_then(|policy| policy.update_time)
        .expect("the policy has an update time");
    let end = server
        .get_token(&token.public.name)
        .await
        .expire_time
        .expect("the token expires");
    assert_eq!(end.nanos, set.nanos);
    end.seconds - set.seconds
}

async fn every_answer_respects_the_deadline(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    let short = server
        .token(CreateTokenRequest {
            expiry: after(HOUR / 2),
            ..token_in(&acme)
        })
        .await;
    assert_eq!(
        set(&server, max_lifetime(&acme, HOUR, Apply)).await,
        1,
        "the other token expires earlier anyway"
    );
    let younger = server.token(token_in(&acme)).await;

    let end = bound.public.create_time.expect("a time").seconds + 3_600;
    let got = server.get_token(&bound.public.name).await;
    let expire_time = got.expire_time.expect("the token expires");
    assert!(
        (end..end + 60).contains(&expire_time.seconds),
        "an hour after the policy: {got:?}"
    );
    assert_eq!(
        got.requested_expire_time, bound.public.requested_expire_time,
        "the requested expiry stays"
    );
    assert_eq!(seconds_from_policy_to_expiry(&server, &bound, &acme).await, 3_600);
    let list = async |filter: String| {
        let request = ListTokensRequest {
            parent: acme.clone(),
            filter,
            ..Default::default()
        };
        let page = server
            .admin()
            .token_admin()
            .list_tokens(request)
            .await
            .expect("ListTokens succeeds")
            .into_inner();
        assert_eq!(i64::try_from(page.tokens.len()).expect("few"), page.total_size);
        page.tokens
    };
    assert!(list(String::new()).await.contains(&got));
    let identify = IdentifyTokenRequest {
        secret: bound.secret.clone(),
    };
    let identified = server
        .admin()
        .token_admin()
        .identify_token(identify)
        .await
        .expect("IdentifyToken succeeds")
        .into_inner();
    assert_eq!(identified.token.as_ref(), Some(&got));
    let allowed = verdict(&server, &bound).await;
    assert_eq!(
        (allowed.decision(), allowed.token.expect("a token").expire_time),
        (Decision::Allow, got.expire_time)
    );
    assert_eq!(server.get_token(&short.public.name).await, short.public);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 3);
    assert_eq!(list("state = ACTIVE".to_owned()).await.len(), 3);

    // Past the deadline, and past the expiry of the other tokens.
    installation.clock().set_ahead(HOUR + Duration::from_secs(30));
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    assert_eq!(server.get_token(&bound.public.name).await.state(), State::Expired);
    let names = |tokens: Vec<Token>| tokens.into_iter().map(|token| token.name).collect::<Vec<_>>();
    let expired = [younger, short, bound].map(|token| token.public.name);
    assert_eq!(
        names(list("state = EXPIRED".to_owned()).await),
        expired,
        "the filter in the database applies the deadline, too"
    );
    let time = rfc_3339(expire_time.seconds + 30);
    assert_eq!(
        names(list(format!("expire_time < {time} AND state != ACTIVE")).await),
        expired
    );
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
}

/// Formats a Unix time in RFC 3339.
fn rfc_3339(seconds: i64) -> String {
    tokend_core::time::Timestamp::from_unix_seconds(seconds, 0)
        .expect("in range")
        .to_string()
}

async fn an_organizations_deadline_applies_to_all_its_workspaces(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let (acme, beta) = (
        server.workspace_in("acme", &initech).await,
        server.workspace_in("beta", &initech).await,
    );
    let (one, two) = (token(&server, &acme).await, token(&server, &beta).await);
    let elsewhere = server.workspace("elsewhere").await;
    let free = token(&server, &elsewhere).await;
    assert_eq!(set(&server, max_lifetime(&initech, HOUR, Apply)).await, 2);
    for bound in [&one, &two] {
        assert_eq!(seconds_from_policy_to_expiry(&server, bound, &initech).await, 3_600);
    }
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    for bound in [&one, &two] {
        assert_eq!(verdict(&server, bound).await.deny_reason(), DenyReason::Expired);
    }
    assert_eq!(verdict(&server, &free).await.decision(), Decision::Allow);
    for (workspace, count) in [(&acme, 0), (&beta, 0), (&elsewhere, 1)] {
        assert_eq!(
            server.get_workspace(workspace).await.active_token_count,
            count,
            "{workspace}"
        );
    }
}

async fn the_earlier_of_two_deadlines_applies(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let bound = token(&server, &acme).await;
    assert_eq!(set(&server, max_lifetime(&acme, HOUR * 2, Apply)).await, 1);
    assert_eq!(
        set(&server, max_lifetime(&initech, HOUR * 3, Apply)).await,
        0,
        "the token expires earlier already"
    );
    assert_eq!(seconds_from_policy_to_expiry(&server, &bound, &acme).await, 7_200);
    assert_eq!(set(&server, max_lifetime(&initech, HOUR, Apply)).await, 1);
    assert_eq!(seconds_from_policy_to_expiry(&server, &bound, &initech).await, 3_600);
    // Without the deadline of the organization, that of the workspace still applies.
    set(&server, max_lifetime(&initech, HOUR, Keep)).await;
    assert_eq!(seconds_from_policy_to_expiry(&server, &bound, &acme).await, 7_200);
}

async fn saving_again_does_not_postpone_the_deadline(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    let end = server.get_token(&bound.public.name).await.expire_time;
    installation.clock().set_ahead(HOUR / 2);
    // Another rule changes the policy but not the deadline.
    for policy in [
        max_lifetime(&acme, HOUR, Apply),
        TokenPolicy {
            require_expiry: true,
            ..max_lifetime(&acme, HOUR, Apply)
        },
    ] {
        assert_eq!(set(&server, policy).await, 0);
        assert_eq!(server.get_token(&bound.public.name).await.expire_time, end);
    }
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    assert_eq!(
        server.get_token(&bound.public.name).await.expire_time,
        end,
        "the returned expiry does not change"
    );
}

async fn a_shorter_lifetime_does_not_postpone_the_deadline(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR * 2, Apply)).await;
    let end = server.get_token(&bound.public.name).await.expire_time;
    // Half an hour is left of the two hours: an hour from now would be later.
    installation.clock().set_ahead(HOUR * 3 / 2);
    assert_eq!(set(&server, max_lifetime(&acme, HOUR, Apply)).await, 0);
    assert_eq!(server.get_token(&bound.public.name).await.expire_time, end);
}

async fn keep_removes_a_future_deadline(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(set(&server, max_lifetime(&acme, HOUR, Keep)).await, 0);
    assert_eq!(
        server.get_token(&bound.public.name).await,
        bound.public,
        "the deadline is removed"
    );
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(verdict(&server, &bound).await.decision(), Decision::Allow);
    // Applying the policy again starts a new deadline.
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(seconds_from_policy_to_expiry(&server, &bound, &acme).await, 3_600);
    // A longer lifetime replaces the deadline.
    set(&server, max_lifetime(&acme, HOUR * 4, Apply)).await;
    assert_eq!(seconds_from_policy_to_expiry(&server, &bound, &acme).await, 4 * 3_600);
}

async fn no_edit_revives_an_expired_token(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    // No call has read the token since its deadline.
    let empty = |owner: &str| TokenPolicy {
        name: format!("{owner}/tokenPolicy"),
        ..Default::default()
    };
    for policy in [
        max_lifetime(&acme, HOUR, Keep),
        max_lifetime(&acme, HOUR * 48, Apply),
        empty(&acme),
        max_lifetime(&initech, HOUR * 48, Apply),
        empty(&initech),
        max_lifetime(&acme, HOUR * 48, Keep),
    ] {
        assert_eq!(set(&server, policy.clone()).await, 0);
        assert_eq!(
            verdict(&server, &bound).await.deny_reason(),
            DenyReason::Expired,
            "{policy:?}"
        );
        assert_eq!(
            server.get_token(&bound.public.name).await.state(),
            State::Expired,
            "{policy:?}"
        );
        assert_eq!(server.get_workspace(&acme).await.active_token_count, 0, "{policy:?}");
    }
}

/// On SQLite, setting the clock back does not revive the token.
async fn a_passed_deadline_stays_passed_after_a_restart(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    let key = server.admin_key().to_owned();
    server.kill();
    if installation.postgres().is_none() {
        installation.clock().set_right();
    }
    let server = installation.serve(&key).await;
    set(&server, max_lifetime(&acme, HOUR, Keep)).await;
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
}
