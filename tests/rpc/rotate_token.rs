//! `TokenAdmin.RotateToken`: a new secret for the same grants, and an end for the old one that no overlap postpones.

use std::{collections::BTreeMap, time::Duration};

use prost_types::Timestamp;
use tokend_client::v1::{
    CreateTokenRequest, Decision, DeleteWorkspaceRequest, DenyReason, ErrorReason, GetWorkspaceRequest, ListTokensRequest,
    RotateTokenRequest, RotateTokenResponse, SuspendWorkspaceRequest, Token, create_token_request, rotate_token_request::Expiry,
    token::State,
};
use tokend_tests::{Installation, Issued, Records, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

on_both_databases!(
    the_successor_has_the_same_grants,
    the_old_secret_works_until_its_overlap_ends,
    an_overlap_of_zero_ends_it_at_once,
    no_overlap_outlasts_the_old_end,
    an_expired_token_is_rotated_and_stays_dead,
    a_successor_lasts_as_long_as_was_asked_for,
    a_revoked_token_is_not_rotated,
    a_predecessor_is_not_rotated_again,
    where_no_token_is_made_none_is_rotated,
    a_retry_returns_the_same_successor_and_rotates_nothing,
    of_many_at_once_one_makes_a_successor,
    both_changes_are_on_record,
    a_field_that_does_not_fit_is_named,
);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn request(name: &str) -> RotateTokenRequest {
    RotateTokenRequest { name: name.to_owned(), ..Default::default() }
}

pub(crate) fn overlap(name: &str, overlap: Duration) -> RotateTokenRequest {
    RotateTokenRequest { overlap: Some(overlap.try_into().expect("a span")), ..request(name) }
}

pub(crate) async fn call(server: &Server, request: RotateTokenRequest) -> Result<Response<RotateTokenResponse>, Status> {
    server.admin().token_admin().rotate_token(request).await
}

/// The new token and the old one.
pub(crate) async fn rotate(server: &Server, request: RotateTokenRequest) -> (Issued<Token>, Token) {
    let RotateTokenResponse { token, secret, predecessor, revision } =
        call(server, request).await.expect("it is rotated").into_inner();
    assert!(revision.is_some());
    (Issued { public: token.expect("told"), secret }, predecessor.expect("told"))
}

pub(crate) async fn decision(server: &Server, secret: &str) -> (Decision, DenyReason) {
    let verdict = server.verdict(question(secret, "workspaces/acme", &["repository:write"])).await;
    (verdict.decision(), verdict.deny_reason())
}

pub(crate) const ALLOW: (Decision, DenyReason) = (Decision::Allow, DenyReason::Unspecified);
pub(crate) const EXPIRED: (Decision, DenyReason) = (Decision::Deny, DenyReason::Expired);

pub(crate) fn micros(time: Option<Timestamp>) -> i64 {
    let time = time.expect("told");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

fn span(token: &Token) -> Duration {
    Duration::from_micros((micros(token.expire_time) - micros(token.create_time)).unsigned_abs())
}

async fn list(server: &Server, acme: &str) -> Vec<Token> {
    let list = ListTokensRequest { parent: acme.to_owned(), ..Default::default() };
    server.admin().token_admin().list_tokens(list).await.expect("a list").into_inner().tokens
}

async fn the_successor_has_the_same_grants(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = CreateTokenRequest {
        display_name: "Déploiement 🚀".to_owned(),
        description: "two\nlines".to_owned(),
        scopes: vec!["webhook".to_owned(), "pullrequest".to_owned()],
        resource: format!("{acme}/projects/web"),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        ..token_in(&acme)
    };
    let old = server.token(old).await;
    let (new, predecessor) = rotate(&server, request(&old.public.name)).await;
    let wanted = Token {
        name: new.public.name.clone(),
        hint: new.public.hint.clone(),
        create_time: new.public.create_time,
        expire_time: new.public.expire_time,
        requested_expire_time: new.public.expire_time,
        rotated_from: old.public.name.clone(),
        ..old.public.clone()
    };
    assert_eq!(new.public, wanted);
    assert_ne!(new.public.name, old.public.name);
    assert_eq!(span(&new.public), HOUR);
    assert_ne!(new.secret[24..57], old.secret[24..57]);
    let wanted = Token { expire_time: predecessor.expire_time, rotated_to: new.public.name.clone(), ..old.public.clone() };
    assert_eq!(predecessor, wanted, "nothing else has changed");
    assert_eq!(micros(predecessor.expire_time) - micros(new.public.create_time), 30 * 60 * 1_000_000, "half an hour");

    assert_eq!(server.get_token(&old.public.name).await, predecessor, "what was told is what was kept");
    assert_eq!(server.get_token(&new.public.name).await, new.public);
    assert_eq!(list(&server, &acme).await, [new.public.clone(), predecessor]);
    for secret in [&old.secret, &new.secret] {
        let verdict = server.verdict(tokend_client::v1::VerifyRequest {
            client_address: "192.0.2.1".to_owned(),
            ..question(secret, &format!("{acme}/projects/web"), &["pullrequest"])
        });
        assert_eq!(verdict.await.decision(), Decision::Allow);
    }
}

async fn the_old_secret_works_until_its_overlap_ends(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    let (new, predecessor) = rotate(&server, request(&old.public.name)).await;
    let active = async || {
        let request = GetWorkspaceRequest { name: acme.clone() };
        let got = server.admin().workspace_admin().get_workspace(request).await.expect("it is there").into_inner();
        got.workspace.expect("told").active_token_count
    };
    for (ahead, old_one, state, count) in [
        (Duration::ZERO, ALLOW, State::Active, 2),
        (28 * MINUTE, ALLOW, State::Active, 2),
        (30 * MINUTE, EXPIRED, State::Expired, 1),
    ] {
        installation.clock().set_ahead(ahead);
        let verdict = server.verdict(question(&old.secret, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), old_one, "{ahead:?}");
        assert_eq!(verdict.token.expect("told").expire_time, predecessor.expire_time);
        assert_eq!(decision(&server, &new.secret).await, ALLOW, "{ahead:?}");
        assert_eq!(server.get_token(&old.public.name).await.state(), state, "{ahead:?}");
        assert_eq!(list(&server, &acme).await[1].state(), state, "{ahead:?}");
        assert_eq!(active().await, count, "{ahead:?}");
    }
}

async fn an_overlap_of_zero_ends_it_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for request in [token_in(&acme), CreateTokenRequest { expiry: no_expiry(), ..token_in(&acme) }] {
        let old = server.token(request).await;
        let before = server.verdict(question(&old.secret, &acme, &[])).await.revision.expect("told");
        let answer = call(&server, overlap(&old.public.name, Duration::ZERO)).await.expect("it is rotated").into_inner();
        let revision = answer.revision.expect("told");
        assert!(revision.epoch == before.epoch && revision.number > before.number, "{revision:?} follows {before:?}");
        assert_eq!(decision(&server, &old.secret).await, EXPIRED);
        assert_eq!(decision(&server, &answer.secret).await, ALLOW);
        let predecessor = answer.predecessor.expect("told");
        assert_eq!(predecessor.state(), State::Expired);
        assert_eq!(predecessor.requested_expire_time, old.public.requested_expire_time);
        assert_eq!(predecessor.revoke_time, None, "it has ended by itself");
    }
}

const fn no_expiry() -> Option<create_token_request::Expiry> {
    Some(create_token_request::Expiry::NoExpiry(true))
}

async fn no_overlap_outlasts_the_old_end(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    let (new, predecessor) = rotate(&server, overlap(&old.public.name, 100 * HOUR)).await;
    assert_eq!(predecessor.expire_time, old.public.expire_time);
    let longer = RotateTokenRequest { expiry: ttl(100 * HOUR), ..request(&new.public.name) };
    let (newest, _) = rotate(&server, longer).await;
    installation.clock().set_ahead(HOUR);
    assert_eq!(decision(&server, &old.secret).await, EXPIRED);
    assert_eq!(decision(&server, &newest.secret).await, ALLOW);
}

fn ttl(span: Duration) -> Option<Expiry> {
    Some(Expiry::Ttl(span.try_into().expect("a span")))
}

async fn an_expired_token_is_rotated_and_stays_dead(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    installation.clock().set_ahead(2 * HOUR);
    assert_eq!(decision(&server, &old.secret).await, EXPIRED);
    let (new, predecessor) = rotate(&server, overlap(&old.public.name, 10 * HOUR)).await;
    assert_eq!((predecessor.state(), predecessor.expire_time), (State::Expired, old.public.expire_time));
    assert_eq!(decision(&server, &old.secret).await, EXPIRED, "no overlap revives it");
    assert_eq!(decision(&server, &new.secret).await, ALLOW);
    assert_eq!(span(&new.public), HOUR);
}

/// What an overlap cut off, and how late somebody rotates, changes nothing about the span.
async fn a_successor_lasts_as_long_as_was_asked_for(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let first = server.token(CreateTokenRequest { expiry: after(10 * HOUR), ..token_in(&acme) }).await.public;
    let (second, _) = rotate(&server, overlap(&first.name, Duration::ZERO)).await;
    assert_eq!(span(&second.public), 10 * HOUR);
    installation.clock().set_ahead(9 * HOUR);
    let (third, _) = rotate(&server, request(&second.public.name)).await;
    assert_eq!(span(&third.public), 10 * HOUR);
    let (fourth, _) = rotate(&server, RotateTokenRequest { expiry: ttl(20 * HOUR), ..request(&third.public.name) }).await;
    assert_eq!(span(&fourth.public), 20 * HOUR);
    let end = Timestamp { seconds: 4_102_444_800, nanos: 123_456_000 };
    let at = RotateTokenRequest { expiry: Some(Expiry::ExpireTime(end)), ..request(&fourth.public.name) };
    let (fifth, _) = rotate(&server, at).await;
    assert_eq!(fifth.public.expire_time, Some(end));
    let (sixth, _) = rotate(&server, request(&fifth.public.name)).await;
    assert_eq!(span(&sixth.public), span(&fifth.public), "a time that was chosen is a span, too");
    let endless = RotateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..request(&sixth.public.name) };
    let (seventh, _) = rotate(&server, endless).await;
    assert_eq!(seventh.public.expire_time, None);
    let (eighth, predecessor) = rotate(&server, request(&seventh.public.name)).await;
    assert_eq!((eighth.public.expire_time, predecessor.requested_expire_time), (None, None));
    assert!(predecessor.expire_time.is_some(), "the old one ends all the same");
}

async fn a_revoked_token_is_not_rotated(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let revoked = server.revoke(&old).await.token.expect("told");
    call(&server, request(&old)).await.refused(Code::FailedPrecondition, ErrorReason::TokenRevoked);
    assert_eq!(server.get_token(&old).await, revoked);
    assert_eq!(list(&server, &acme).await.len(), 1, "nothing was made");
    // In its overlap a predecessor can be revoked, and its successor goes on.
    let old = server.token(token_in(&acme)).await;
    let (new, _) = rotate(&server, request(&old.public.name)).await;
    let revoked = server.revoke(&old.public.name).await.token.expect("told");
    assert_eq!((revoked.state(), &revoked.rotated_to), (State::Revoked, &new.public.name));
    assert_eq!(decision(&server, &old.secret).await, (Decision::Deny, DenyReason::Revoked));
    assert_eq!(decision(&server, &new.secret).await, ALLOW);
}

async fn a_predecessor_is_not_rotated_again(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    let (new, predecessor) = rotate(&server, request(&old.public.name)).await;
    let status = call(&server, overlap(&old.public.name, Duration::ZERO)).await.expect_err("it has a successor");
    let named = status.get_details_precondition_failure().expect("it is named").violations;
    assert_eq!(named.iter().map(|named| named.subject.as_str()).collect::<Vec<_>>(), [new.public.name.as_str()]);
    let told = Err::<Response<()>, _>(status).refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
    assert!(told.message.contains(&new.public.name), "{}", told.message);
    assert_eq!(server.get_token(&old.public.name).await, predecessor, "its end stays");
    assert_eq!(decision(&server, &new.secret).await, ALLOW);
    // A successor can be; the chain is read both ways.
    let (newest, middle) = rotate(&server, request(&new.public.name)).await;
    assert_eq!((&middle.rotated_from, &middle.rotated_to), (&old.public.name, &newest.public.name));
    // The one to rotate is the last of the chain, unless it was revoked.
    let told = call(&server, request(&old.public.name)).await.refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
    assert!(told.message.contains(&format!("{}: rotate that one", newest.public.name)), "{}", told.message);
    server.revoke(&newest.public.name).await;
    let told = call(&server, request(&old.public.name)).await.refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
    assert!(told.message.contains("revoked") && !told.message.contains("rotate that one"), "{}", told.message);
    assert_eq!(told.preconditions[0].subject, newest.public.name);
    assert!(told.preconditions[0].description.contains("new token"), "{told:?}");
}

async fn where_no_token_is_made_none_is_rotated(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public;
    for name in [format!("{acme}/tokens/{}", "0".repeat(17)), token.name.replacen("acme", "nobody", 1)] {
        call(&server, request(&name)).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    let mut workspaces = server.admin().workspace_admin();
    let suspend = SuspendWorkspaceRequest { name: acme.clone(), ..Default::default() };
    workspaces.suspend_workspace(suspend).await.expect("it is suspended");
    call(&server, request(&token.name)).await.refused(Code::FailedPrecondition, ErrorReason::WorkspaceSuspended);
    workspaces.delete_workspace(DeleteWorkspaceRequest { name: acme.clone(), ..Default::default() }).await.expect("it is deleted");
    call(&server, request(&token.name)).await.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    assert_eq!(server.get_token(&token.name).await.rotated_to, "", "nothing is half done");
}

async fn a_retry_returns_the_same_successor_and_rotates_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(CreateTokenRequest { expiry: after(100 * HOUR), ..token_in(&acme) }).await;
    let first = RotateTokenRequest { request_id: "rotation-1".to_owned(), ..overlap(&old.public.name, HOUR) };
    let (new, predecessor) = rotate(&server, first.clone()).await;
    assert!(!new.secret.is_empty());
    for retry in [first.clone(), RotateTokenRequest { no_wait: true, ..first.clone() }] {
        let (again, same) = rotate(&server, retry).await;
        assert_eq!((&again.public, again.secret.as_str(), &same), (&new.public, "", &predecessor));
    }
    assert_eq!(decision(&server, &new.secret).await, ALLOW, "a retry has not killed what the call had made");
    assert_eq!(server.get_token(&new.public.name).await.rotated_to, "");
    assert_eq!(list(&server, &acme).await.len(), 2);

    // A client that lost the answer and now takes the new token for the one to rotate is told so.
    let other_body = [
        RotateTokenRequest { name: new.public.name.clone(), ..first.clone() },
        RotateTokenRequest { overlap: None, ..first.clone() },
        RotateTokenRequest { expiry: ttl(HOUR), ..first.clone() },
    ];
    for other in other_body {
        call(&server, other).await.refused(Code::InvalidArgument, ErrorReason::RequestIdReused);
    }
    assert_eq!(server.get_token(&new.public.name).await, new.public);

    // A replay tells both tokens as they are by then, and for a day.
    server.revoke(&new.public.name).await;
    installation.clock().set_ahead(23 * HOUR);
    let (again, same) = rotate(&server, first.clone()).await;
    assert_eq!((again.public.state(), same.state()), (State::Revoked, State::Expired));
    installation.clock().set_ahead(25 * HOUR);
    call(&server, first).await.refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
}

async fn of_many_at_once_one_makes_a_successor(installation: Installation) {
    const AT_ONCE: usize = 20;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for request_id in ["the-same-for-all", ""] {
        let old = server.token(token_in(&acme)).await;
        let known = list(&server, &acme).await.len();
        let rotate = RotateTokenRequest { request_id: request_id.to_owned(), ..request(&old.public.name) };
        let mut calls = Vec::new();
        for _ in 0..AT_ONCE {
            // On connections of their own, so that nothing puts them in a row.
            let (client, request) = (server.client(server.admin_key()).await, rotate.clone());
            calls.push(tokio::spawn(async move { client.token_admin().rotate_token(request).await }));
        }
        let (mut secrets, mut names, mut refused) = (Vec::new(), Vec::new(), 0);
        for call in calls {
            match call.await.expect("it does not panic") {
                Ok(answer) => {
                    let RotateTokenResponse { token, secret, .. } = answer.into_inner();
                    names.push(token.expect("told").name);
                    secrets.extend((!secret.is_empty()).then_some(secret));
                }
                late => {
                    late.refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, if request_id.is_empty() { AT_ONCE - 1 } else { 0 });
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        assert_eq!(secrets.len(), 1, "told once");
        assert_eq!(decision(&server, &secrets[0]).await, ALLOW);
        assert_eq!(list(&server, &acme).await.len(), known + 1);
        assert_eq!(server.get_token(&old.public.name).await.rotated_to, names[0]);
    }
}

async fn both_changes_are_on_record(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let mut records = Records::of_installation(&installation).await;
    let known = records.of("acme").await.len();
    let rotation = RotateTokenRequest { request_id: "once".to_owned(), ..request(&old) };
    let (new, _) = rotate(&server, rotation.clone()).await;
    let new = new.public.name;
    rotate(&server, rotation).await;
    let told = records.of("acme").await.split_off(known);
    let told: Vec<_> = told.iter().map(|record| [&record.kind, &record.resource, &record.detail].map(String::as_str)).collect();
    let made = format!("repository:write on {acme}, for 3600 s, to replace {old}");
    let expected = [["token.created", &new, &made], ["token.rotated", &old, &format!("replaced by {new}")]];
    assert_eq!(told, expected, "and nothing of the retry");
    let server_stopped = server.stop().await;
    assert!(server_stopped.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn a_field_that_does_not_fit_is_named(installation: Installation) {
    type Change = fn(&mut RotateTokenRequest);
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = server.token(token_in(&acme)).await.public.name;
    let changes: [(&str, Change); 12] = [
        ("name", |request| request.name.clear()),
        ("name", |request| request.name = "workspaces/acme".to_owned()),
        ("overlap", |request| request.overlap = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
        ("overlap", |request| request.overlap = Some(prost_types::Duration { seconds: 1, nanos: -1 })),
        ("overlap", |request| request.overlap = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000_000 })),
        ("overlap", |request| request.overlap = Some(prost_types::Duration { seconds: i64::MAX, nanos: 0 })),
        // Well-formed, and longer than any overlap.
        ("overlap", |request| request.overlap = Some(prost_types::Duration { seconds: 30 * 24 * 3_600, nanos: 1_000 })),
        ("ttl", |request| request.expiry = ttl(Duration::ZERO)),
        ("expire_time", |request| request.expiry = Some(Expiry::ExpireTime(Timestamp { seconds: 1_600_000_000, nanos: 0 }))),
        ("no_expiry", |request| request.expiry = Some(Expiry::NoExpiry(false))),
        ("request_id", |request| request.request_id = "x".repeat(37)),
        ("request_id", |request| request.request_id = "é".to_owned()),
    ];
    for (field, change) in changes {
        let mut bad = request(&name);
        change(&mut bad);
        call(&server, bad).await.refused_field(field);
    }
    let all = RotateTokenRequest {
        overlap: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        expiry: Some(Expiry::NoExpiry(false)),
        ..Default::default()
    };
    let status = call(&server, all).await.expect_err("nothing of it fits");
    let fields: Vec<_> = tokend_client::Failure::from(status).fields.into_iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["name", "overlap", "no_expiry"]);
    assert_eq!(list(&server, &acme).await.len(), 1, "nothing was made");
    assert_eq!(server.get_token(&name).await.rotated_to, "");
}
