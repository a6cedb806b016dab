//! `TokenAdmin.RotateToken`: how long the old secret and the successor work.

use std::time::Duration;

use prost_types::Timestamp;
use tokend_client::v1::{
    CreateTokenRequest, GetWorkspaceRequest, RotateTokenRequest, create_token_request, rotate_token_request::Expiry,
    token::State,
};
use tokend_tests::{Installation, after, on_both_databases, question, token_in};

use crate::rotate_token::{ALLOW, EXPIRED, HOUR, call, decision, list, overlap, request, rotate, span, ttl};

on_both_databases!(
    the_old_secret_works_until_its_overlap_ends,
    an_overlap_of_zero_expires_the_old_token_at_once,
    no_overlap_outlasts_the_old_expiry,
    an_expired_token_is_rotated_and_stays_expired,
    a_successor_keeps_the_requested_lifetime,
);

const MINUTE: Duration = Duration::from_secs(60);

async fn the_old_secret_works_until_its_overlap_ends(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    let (new, predecessor) = rotate(&server, request(&old.public.name)).await;
    let active = async || {
        let request = GetWorkspaceRequest { name: acme.clone() };
        let got = server
            .admin()
            .workspace_admin()
            .get_workspace(request)
            .await
            .expect("GetWorkspace succeeds")
            .into_inner();
        got.workspace.expect("a workspace").active_token_count
    };
    for (ahead, verdict_on_old, state, count) in [
        (Duration::ZERO, ALLOW, State::Active, 2),
        (28 * MINUTE, ALLOW, State::Active, 2),
        (30 * MINUTE, EXPIRED, State::Expired, 1),
    ] {
        installation.clock().set_ahead(ahead);
        let verdict = server.verdict(question(&old.secret, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), verdict_on_old, "{ahead:?}");
        assert_eq!(verdict.token.expect("a token").expire_time, predecessor.expire_time);
        assert_eq!(decision(&server, &new.secret).await, ALLOW, "{ahead:?}");
        assert_eq!(server.get_token(&old.public.name).await.state(), state, "{ahead:?}");
        assert_eq!(list(&server, &acme).await[1].state(), state, "{ahead:?}");
        assert_eq!(active().await, count, "{ahead:?}");
    }
}

async fn an_overlap_of_zero_expires_the_old_token_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for request in [
        token_in(&acme),
        CreateTokenRequest {
            expiry: no_expiry(),
            ..token_in(&acme)
        },
    ] {
        let old = server.token(request).await;
        let before = server
            .verdict(question(&old.secret, &acme, &[]))
            .await
            .revision
            .expect("a revision");
        let answer = call(&server, overlap(&old.public.name, Duration::ZERO))
            .await
            .expect("RotateToken succeeds")
            .into_inner();
        let revision = answer.revision.expect("a revision");
        assert!(
            revision.epoch == before.epoch && revision.number > before.number,
            "{revision:?} follows {before:?}"
        );
        assert_eq!(decision(&server, &old.secret).await, EXPIRED);
        assert_eq!(decision(&server, &answer.secret).await, ALLOW);
        let predecessor = answer.predecessor.expect("a predecessor");
        assert_eq!(predecessor.state(), State::Expired);
        assert_eq!(predecessor.requested_expire_time, old.public.requested_expire_time);
        assert_eq!(predecessor.revoke_time, None, "the token expired and was not revoked");
    }
}

const fn no_expiry() -> Option<create_token_request::Expiry> {
    Some(create_token_request::Expiry::NoExpiry(true))
}

async fn no_overlap_outlasts_the_old_expiry(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    let (new, predecessor) = rotate(&server, overlap(&old.public.name, 100 * HOUR)).await;
    assert_eq!(predecessor.expire_time, old.public.expire_time);
    let longer = RotateTokenRequest {
        expiry: ttl(100 * HOUR),
        ..request(&new.public.name)
    };
    let (newest, _) = rotate(&server, longer).await;
    installation.clock().set_ahead(HOUR);
    assert_eq!(decision(&server, &old.secret).await, EXPIRED);
    assert_eq!(decision(&server, &newest.secret).await, ALLOW);
}

async fn an_expired_token_is_rotated_and_stays_expired(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    installation.clock().set_ahead(2 * HOUR);
    assert_eq!(decision(&server, &old.secret).await, EXPIRED);
    let (new, predecessor) = rotate(&server, overlap(&old.public.name, 10 * HOUR)).await;
    assert_eq!(
        (predecessor.state(), predecessor.expire_time),
        (State::Expired, old.public.expire_time)
    );
    assert_eq!(decision(&server, &old.secret).await, EXPIRED, "no overlap revives it");
    assert_eq!(decision(&server, &new.secret).await, ALLOW);
    assert_eq!(span(&new.public), HOUR);
}

/// Neither a shorter overlap nor a late rotation changes the requested lifetime.
async fn a_successor_keeps_the_requested_lifetime(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let first = server
        .token(CreateTokenRequest {
            expiry: after(10 * HOUR),
            ..token_in(&acme)
        })
        .await
        .public;
    let (second, _) = rotate(&server, overlap(&first.name, Duration::ZERO)).await;
    assert_eq!(span(&second.public), 10 * HOUR);
    installation.clock().set_ahead(9 * HOUR);
    let (third, _) = rotate(&server, request(&second.public.name)).await;
    assert_eq!(span(&third.public), 10 * HOUR);
    let (fourth, _) = rotate(
        &server,
        RotateTokenRequest {
            expiry: ttl(20 * HOUR),
            ..request(&third.public.name)
        },
    )
    .await;
    assert_eq!(span(&fourth.public), 20 * HOUR);
    let end = Timestamp {
        seconds: 4_102_444_800,
        nanos: 123_456_000,
    };
    let at = RotateTokenRequest {
        expiry: Some(Expiry::ExpireTime(end)),
        ..request(&fourth.public.name)
    };
    let (fifth, _) = rotate(&server, at).await;
    assert_eq!(fifth.public.expire_time, Some(end));
    let (sixth, _) = rotate(&server, request(&fifth.public.name)).await;
    assert_eq!(
        span(&sixth.public),
        span(&fifth.public),
        "a chosen expire_time counts as a lifetime, too"
    );
    let endless = RotateTokenRequest {
        expiry: Some(Expiry::NoExpiry(true)),
        ..request(&sixth.public.name)
    };
    let (seventh, _) = rotate(&server, endless).await;
    assert_eq!(seventh.public.expire_time, None);
    let (eighth, predecessor) = rotate(&server, request(&seventh.public.name)).await;
    assert_eq!(
        (eighth.public.expire_time, predecessor.requested_expire_time),
        (None, None)
    );
    assert!(predecessor.expire_time.is_some(), "the old token expires nevertheless");
}
