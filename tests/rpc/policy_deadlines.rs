//! A policy that is applied reaches back to tokens that there are: none outlives its deadline, no later edit revives one that has ended,
//! and nothing is postponed by saving the same once more.

use std::time::Duration;

use tokend_client::v1::{
    BatchRevokeTokensRequest, CreateTokenRequest, Decision, DenyReason, IdentifyTokenRequest, ListTokensRequest,
    RevokeLeakedTokensRequest, RotateTokenRequest, Token, TokenPolicy, VerifyResponse,
    revoke_leaked_tokens_request::Leak,
    token::State,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Issued, Server, after, max_lifetime, on_both_databases, question, token_in};

on_both_databases!(
    every_view_and_verdict_knows_the_deadline,
    an_organizations_deadline_binds_all_of_its_workspaces,
    the_earlier_of_two_deadlines_counts,
    saving_once_more_postpones_nothing,
    a_shorter_lifetime_postpones_nothing,
    keeping_lifts_what_is_ahead,
    no_edit_revives_a_token,
    a_clock_that_has_passed_a_deadline_is_remembered,
    what_is_too_long_can_still_be_revoked,
    what_a_deadline_binds_can_be_rotated,
);

const HOUR: Duration = Duration::from_secs(3_600);

/// A token that asks for a day.
async fn token(server: &Server, workspace: &str) -> Issued<Token> {
    server.token(CreateTokenRequest { expiry: after(HOUR * 24), ..token_in(workspace) }).await
}

async fn verdict(server: &Server, token: &Issued<Token>) -> VerifyResponse {
    server.verdict(question(&token.secret, &token.public.workspace, &[])).await
}

/// Sets a policy, and returns how many tokens end earlier by that.
async fn set(server: &Server, policy: TokenPolicy) -> i64 {
    server.set_policy(policy).await.affected_count
}

/// When the token ends, in seconds after the policy of `owner` was set.
async fn ends_after_policy(server: &Server, token: &Issued<Token>, owner: &str) -> i64 {
    let set = server.get_policy(owner).await.policy.and_then(|policy| policy.update_time).expect("it was set");
    let end = server.get_token(&token.public.name).await.expire_time.expect("it ends");
    assert_eq!(end.nanos, set.nanos);
    end.seconds - set.seconds
}

async fn every_view_and_verdict_knows_the_deadline(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    let short = server.token(CreateTokenRequest { expiry: after(HOUR / 2), ..token_in(&acme) }).await;
    assert_eq!(set(&server, max_lifetime(&acme, HOUR, Apply)).await, 1, "the other one ends by itself before");
    let younger = server.token(token_in(&acme)).await;

    let end = bound.public.create_time.expect("told").seconds + 3_600;
    let got = server.get_token(&bound.public.name).await;
    let told = got.expire_time.expect("it ends");
    assert!((end..end + 60).contains(&told.seconds), "an hour after the policy: {got:?}");
    assert_eq!(got.requested_expire_time, bound.public.requested_expire_time, "as it was asked for");
    assert_eq!(ends_after_policy(&server, &bound, &acme).await, 3_600);
    let list = async |filter: String| {
        let request = ListTokensRequest { parent: acme.clone(), filter, ..Default::default() };
        let page = server.admin().token_admin().list_tokens(request).await.expect("it is listed").into_inner();
        assert_eq!(i64::try_from(page.tokens.len()).expect("few"), page.total_size);
        page.tokens
    };
    assert!(list(String::new()).await.contains(&got));
    let identify = IdentifyTokenRequest { secret: bound.secret.clone() };
    let identified = server.admin().token_admin().identify_token(identify).await.expect("it is ours").into_inner();
    assert_eq!(identified.token.as_ref(), Some(&got));
    let allowed = verdict(&server, &bound).await;
    assert_eq!((allowed.decision(), allowed.token.expect("told").expire_time), (Decision::Allow, got.expire_time));
    assert_eq!(server.get_token(&short.public.name).await, short.public);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 3);
    assert_eq!(list("state = ACTIVE".to_owned()).await.len(), 3);

    // Past the deadline, and past the ends of the others.
    installation.clock().set_ahead(HOUR + Duration::from_secs(30));
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    assert_eq!(server.get_token(&bound.public.name).await.state(), State::Expired);
    let names = |tokens: Vec<Token>| tokens.into_iter().map(|token| token.name).collect::<Vec<_>>();
    let ended = [younger, short, bound].map(|token| token.public.name);
    assert_eq!(names(list("state = EXPIRED".to_owned()).await), ended, "to the database, too");
    let time = rfc_3339(told.seconds + 30);
    assert_eq!(names(list(format!("expire_time < {time} AND state != ACTIVE")).await), ended);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
}

/// A time of whole seconds in RFC 3339.
fn rfc_3339(seconds: i64) -> String {
    tokend_core::time::Timestamp::from_unix_seconds(seconds, 0).expect("in range").to_string()
}

async fn an_organizations_deadline_binds_all_of_its_workspaces(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let (acme, beta) = (server.workspace_in("acme", &initech).await, server.workspace_in("beta", &initech).await);
    let (one, two) = (token(&server, &acme).await, token(&server, &beta).await);
    let elsewhere = server.workspace("elsewhere").await;
    let free = token(&server, &elsewhere).await;
    assert_eq!(set(&server, max_lifetime(&initech, HOUR, Apply)).await, 2);
    for bound in [&one, &two] {
        assert_eq!(ends_after_policy(&server, bound, &initech).await, 3_600);
    }
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    for bound in [&one, &two] {
        assert_eq!(verdict(&server, bound).await.deny_reason(), DenyReason::Expired);
    }
    assert_eq!(verdict(&server, &free).await.decision(), Decision::Allow);
    for (workspace, count) in [(&acme, 0), (&beta, 0), (&elsewhere, 1)] {
        assert_eq!(server.get_workspace(workspace).await.active_token_count, count, "{workspace}");
    }
}

async fn the_earlier_of_two_deadlines_counts(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let bound = token(&server, &acme).await;
    assert_eq!(set(&server, max_lifetime(&acme, HOUR * 2, Apply)).await, 1);
    assert_eq!(set(&server, max_lifetime(&initech, HOUR * 3, Apply)).await, 0, "it ends earlier already");
    assert_eq!(ends_after_policy(&server, &bound, &acme).await, 7_200);
    assert_eq!(set(&server, max_lifetime(&initech, HOUR, Apply)).await, 1);
    assert_eq!(ends_after_policy(&server, &bound, &initech).await, 3_600);
    // What one lifts, the other still binds.
    set(&server, max_lifetime(&initech, HOUR, Keep)).await;
    assert_eq!(ends_after_policy(&server, &bound, &acme).await, 7_200);
}

async fn saving_once_more_postpones_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    let end = server.get_token(&bound.public.name).await.expire_time;
    installation.clock().set_ahead(HOUR / 2);
    // Another rule is another policy, and the same deadline.
    for policy in [max_lifetime(&acme, HOUR, Apply), TokenPolicy { require_expiry: true, ..max_lifetime(&acme, HOUR, Apply) }] {
        assert_eq!(set(&server, policy).await, 0);
        assert_eq!(server.get_token(&bound.public.name).await.expire_time, end);
    }
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired);
    assert_eq!(server.get_token(&bound.public.name).await.expire_time, end, "nor is it told otherwise");
}

async fn a_shorter_lifetime_postpones_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR * 2, Apply)).await;
    let end = server.get_token(&bound.public.name).await.expire_time;
    // Of the two hours a quarter is left: an hour from now would be more.
    installation.clock().set_ahead(HOUR * 3 / 2);
    assert_eq!(set(&server, max_lifetime(&acme, HOUR, Apply)).await, 0);
    assert_eq!(server.get_token(&bound.public.name).await.expire_time, end);
}

async fn keeping_lifts_what_is_ahead(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(set(&server, max_lifetime(&acme, HOUR, Keep)).await, 0);
    assert_eq!(server.get_token(&bound.public.name).await, bound.public, "as if there had been none");
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(verdict(&server, &bound).await.decision(), Decision::Allow);
    // Applied again it begins again.
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(ends_after_policy(&server, &bound, &acme).await, 3_600);
    // A longer lifetime takes its place.
    set(&server, max_lifetime(&acme, HOUR * 4, Apply)).await;
    assert_eq!(ends_after_policy(&server, &bound, &acme).await, 4 * 3_600);
}

async fn no_edit_revives_a_token(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    // Nobody has asked meanwhile.
    let empty = |owner: &str| TokenPolicy { name: format!("{owner}/tokenPolicy"), ..Default::default() };
    for policy in [
        max_lifetime(&acme, HOUR, Keep),
        max_lifetime(&acme, HOUR * 48, Apply),
        empty(&acme),
        max_lifetime(&initech, HOUR * 48, Apply),
        empty(&initech),
        max_lifetime(&acme, HOUR * 48, Keep),
    ] {
        assert_eq!(set(&server, policy.clone()).await, 0);
        assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Expired, "{policy:?}");
        assert_eq!(server.get_token(&bound.public.name).await.state(), State::Expired, "{policy:?}");
        assert_eq!(server.get_workspace(&acme).await.active_token_count, 0, "{policy:?}");
    }
}

/// On SQLite, a clock that is set back does not undo what was told.
async fn a_clock_that_has_passed_a_deadline_is_remembered(installation: Installation) {
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

async fn what_is_too_long_can_still_be_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for existing in [Keep, Apply] {
        let (one, two, three) = (token(&server, &acme).await, token(&server, &acme).await, token(&server, &acme).await);
        set(&server, max_lifetime(&acme, HOUR, existing)).await;
        assert_eq!(server.revoke(&one.public.name).await.token.expect("told").state(), State::Revoked);
        let names = vec![two.public.name.clone()];
        let batch = BatchRevokeTokensRequest { parent: acme.clone(), names, ..Default::default() };
        let batch = server.admin().token_admin().batch_revoke_tokens(batch).await.expect("it is revoked").into_inner();
        assert_eq!(batch.revoked_count, 1);
        let leaks = vec![Leak { secret: three.secret.clone(), ..Default::default() }];
        let leaked = RevokeLeakedTokensRequest { leaks, ..Default::default() };
        server.admin().token_admin().revoke_leaked_tokens(leaked).await.expect("it is revoked");
        for ended in [&one, &two, &three] {
            assert_eq!(verdict(&server, ended).await.deny_reason(), DenyReason::Revoked, "{existing:?}");
        }
        set(&server, TokenPolicy { name: format!("{acme}/tokenPolicy"), ..Default::default() }).await;
    }
    // What a deadline has ended, too: it is then told as revoked.
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(server.revoke(&bound.public.name).await.token.expect("told").state(), State::Revoked);
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Revoked);
}

async fn what_a_deadline_binds_can_be_rotated(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = server.token(CreateTokenRequest { expiry: after(HOUR / 2), ..token_in(&acme) }).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    let end = Some((HOUR * 3 / 4).try_into().expect("short"));
    // The overlap is longer than what is left.
    let request = RotateTokenRequest { name: bound.public.name.clone(), overlap: end, ..Default::default() };
    let rotated = server.admin().token_admin().rotate_token(request).await.expect("it is rotated").into_inner();
    assert_eq!(rotated.predecessor.expect("told").expire_time, bound.public.expire_time);
    let successor = rotated.token.expect("told");
    assert_eq!(successor.expire_time, successor.requested_expire_time, "it is younger than the policy");
}
