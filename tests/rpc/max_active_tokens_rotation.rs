//! `max_active_tokens` and rotation: a predecessor and its successor count as one token.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, ErrorReason, RotateTokenRequest, RotateTokenResponse, Token, TokenPolicy,
    rotate_token_request::Expiry, token::State,
};
use tokend_tests::{Installation, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

use crate::max_active_tokens::{HOUR, assert_full, cap, set, span};

on_both_databases!(
    a_rotation_at_the_cap_works,
    repeated_rotations_leave_two_active_tokens,
    a_predecessor_counts_if_its_successor_is_inactive,
    an_overlap_is_limited_by_max_lifetime,
    rotating_an_expired_token_counts_as_creating_one,
);

fn rotation(name: &str, overlap: Duration) -> RotateTokenRequest {
    RotateTokenRequest {
        name: name.to_owned(),
        overlap: span(overlap),
        ..Default::default()
    }
}

async fn rotate(server: &Server, request: RotateTokenRequest) -> Result<Response<RotateTokenResponse>, Status> {
    server.admin().token_admin().rotate_token(request).await
}

async fn successor(server: &Server, request: RotateTokenRequest) -> Token {
    rotate(server, request)
        .await
        .expect("RotateToken succeeds")
        .into_inner()
        .token
        .expect("a token")
}

/// A predecessor and its successor count as one token, during the overlap and after it.
async fn a_rotation_at_the_cap_works(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 2)).await;
    let first = server.token(token_in(&acme)).await.public.name;
    server.token(token_in(&acme)).await;
    let second = successor(&server, rotation(&first, HOUR / 2)).await.name;
    assert_eq!(
        server.get_workspace(&acme).await.active_token_count,
        3,
        "the predecessor is active during the overlap"
    );
    assert_full(&server, &acme, &policy).await;
    // Also for repeated rotations, and if more tokens are active than the cap allows.
    let third = successor(&server, rotation(&second, HOUR / 2)).await.name;
    server.set_policy(cap(&acme, 1)).await;
    let fourth = successor(&server, rotation(&third, Duration::ZERO)).await.name;
    assert_full(&server, &acme, &policy).await;
    // Revoking a predecessor frees no place, because it did not count; revoking a successor does.
    server.revoke(&first).await;
    server.set_policy(cap(&acme, 2)).await;
    assert_full(&server, &acme, &policy).await;
    server.revoke(&fourth).await;
    server.token(token_in(&acme)).await;
    assert_full(&server, &acme, &policy).await;
}

/// However often a token is rotated, and whatever the overlap, only two of its secrets work.
async fn repeated_rotations_leave_two_active_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let first = server
        .token(CreateTokenRequest {
            expiry: after(10_000 * HOUR),
            ..token_in(&acme)
        })
        .await;
    let (mut name, mut secrets) = (first.public.name, vec![first.secret]);
    rotate(&server, rotation(&name, 365 * 24 * HOUR))
        .await
        .refused_field("overlap");
    for _ in 0..20 {
        let answer = rotate(&server, rotation(&name, 30 * 24 * HOUR))
            .await
            .expect("RotateToken succeeds")
            .into_inner();
        name = answer.token.expect("a token").name;
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
    assert_full(&server, &acme, &policy).await;
}

/// If it did not count, each rotation with a revoked successor would leave one more active token than the cap allows.
async fn a_predecessor_counts_if_its_successor_is_inactive(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let long = || CreateTokenRequest {
        expiry: after(1_000 * HOUR),
        ..token_in(&acme)
    };
    let first = server.token(long()).await.public.name;
    let second = successor(&server, rotation(&first, 100 * HOUR)).await.name;
    assert_full(&server, &acme, &policy).await;
    server.revoke(&second).await;
    assert_full(&server, &acme, &policy).await;
    server.revoke(&first).await;
    let third = server.token(long()).await.public.name;
    // The same holds for an expired successor. It can be rotated at the cap, because that expires its predecessor.
    let short = RotateTokenRequest {
        expiry: ttl(HOUR),
        ..rotation(&third, 100 * HOUR)
    };
    let fourth = successor(&server, short).await.name;
    installation.clock().set_ahead(2 * HOUR);
    assert_eq!(
        (
            server.get_token(&third).await.state(),
            server.get_token(&fourth).await.state()
        ),
        (State::Active, State::Expired)
    );
    assert_full(&server, &acme, &policy).await;
    let fifth = successor(&server, rotation(&fourth, HOUR)).await.name;
    assert_eq!(
        (
            server.get_token(&third).await.state(),
            server.get_token(&fifth).await.state()
        ),
        (State::Expired, State::Active)
    );
    assert_full(&server, &acme, &policy).await;
}

fn ttl(ttl: Duration) -> Option<Expiry> {
    Some(Expiry::Ttl(ttl.try_into().expect("a span")))
}

async fn an_overlap_is_limited_by_max_lifetime(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let tokens = [
        server.token(token_in(&acme)).await.public.name,
        server.token(token_in(&acme)).await.public.name,
    ];
    server
        .set_policy(TokenPolicy {
            max_lifetime: span(HOUR / 3),
            ..cap(&initech, 5)
        })
        .await;
    let rotation = |name: &str, overlap| RotateTokenRequest {
        expiry: ttl(HOUR / 6),
        ..rotation(name, overlap)
    };
    rotate(&server, rotation(&tokens[0], HOUR / 3 + Duration::from_micros(1)))
        .await
        .refused_field("overlap");
    assert_eq!(server.get_token(&tokens[0]).await.rotated_to, "");
    let span_of = async |request: RotateTokenRequest| {
        let answer = rotate(&server, request)
            .await
            .expect("RotateToken succeeds")
            .into_inner();
        let (new, old) = (
            answer.token.expect("a token"),
            answer.predecessor.expect("a predecessor"),
        );
        let time = |time: Option<prost_types::Timestamp>| time.expect("a time");
        let (created, end) = (time(new.create_time), time(old.expire_time));
        assert_eq!(created.nanos, end.nanos);
        end.seconds - created.seconds
    };
    assert_eq!(span_of(rotation(&tokens[0], HOUR / 3)).await, 20 * 60);
    // The default overlap of half an hour would be too long: max_lifetime shortens it.
    assert_eq!(
        span_of(RotateTokenRequest {
            overlap: None,
            ..rotation(&tokens[1], HOUR)
        })
        .await,
        20 * 60
    );
}

/// An expired token does not count, so its rotation needs a free place.
async fn rotating_an_expired_token_counts_as_creating_one(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, cap(&acme, 1)).await;
    let expired = server.token(token_in(&acme)).await.public.name;
    installation.clock().set_ahead(2 * HOUR);
    let other = server.token(token_in(&acme)).await.public.name;
    rotate(&server, rotation(&expired, HOUR))
        .await
        .refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
    assert_eq!(server.get_token(&expired).await.rotated_to, "", "nothing is changed");
    server.revoke(&other).await;
    successor(&server, rotation(&expired, HOUR)).await;
    assert_full(&server, &acme, &policy).await;
}
