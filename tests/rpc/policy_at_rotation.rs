//! `TokenAdmin.RotateToken` under policies: a successor must comply with the current policies, or the call is refused.
//! Its grants are neither narrowed nor widened.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, ErrorReason, RotateTokenRequest, RotateTokenResponse, Selection, Token, TokenPolicy,
    create_token_request, rotate_token_request::Expiry, token::State,
};
use tokend_tests::{Installation, Issued, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    a_successor_never_exceeds_the_current_maximum,
    repeated_rotations_do_not_extend_the_lifetime,
    the_default_lifetime_does_not_apply,
    grants_that_are_no_longer_allowed_are_refused,
    a_successor_may_not_be_used_from_more_networks,
    a_retry_is_answered_as_before,
    the_policy_of_the_organization_applies_too,
);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const MICROSECOND: Duration = Duration::from_micros(1);

fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().expect("a span"))
}

fn ttl(lifetime: Duration) -> Option<Expiry> {
    span(lifetime).map(Expiry::Ttl)
}

fn only(values: &[&str]) -> Option<Selection> {
    Some(Selection {
        all: false,
        only: values.iter().map(ToString::to_string).collect(),
    })
}

fn policy_of(parent: &str) -> TokenPolicy {
    TokenPolicy {
        name: format!("{parent}/tokenPolicy"),
        ..Default::default()
    }
}

fn request(name: &str) -> RotateTokenRequest {
    RotateTokenRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}

async fn call(server: &Server, request: RotateTokenRequest) -> Result<Response<RotateTokenResponse>, Status> {
    server.admin().token_admin().rotate_token(request).await
}

async fn rotate(server: &Server, request: RotateTokenRequest) -> Issued<Token> {
    let RotateTokenResponse { token, secret, .. } =
        call(server, request).await.expect("RotateToken succeeds").into_inner();
    Issued {
        public: token.expect("a token"),
        secret,
    }
}

/// Returns the rules that a rotation breaks, and asserts that the token is unchanged.
async fn broken(server: &Server, request: RotateTokenRequest) -> Vec<String> {
    let before = server.get_token(&request.name).await;
    let error = call(server, request.clone())
        .await
        .refused(Code::FailedPrecondition, ErrorReason::PolicyViolated);
    assert_eq!(server.get_token(&request.name).await, before, "the token is unchanged");
    error.preconditions.into_iter().map(|broken| broken.kind).collect()
}

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

fn lifetime(token: &Token) -> Duration {
    Duration::from_micros((micros(token.expire_time) - micros(token.create_time)).unsigned_abs())
}

/// The new expiry must not be computed from the old one, which would break the maximum.
async fn a_successor_never_exceeds_the_current_maximum(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server
        .token(CreateTokenRequest {
            expiry: after(30 * DAY),
            ..token_in(&acme)
        })
        .await
        .public
        .name;
    let endless = create_token_request::Expiry::NoExpiry(true);
    let endless = server
        .token(CreateTokenRequest {
            expiry: Some(endless),
            ..token_in(&acme)
        })
        .await
        .public
        .name;
    server
        .set_policy(TokenPolicy {
            max_lifetime: span(7 * DAY),
            ..policy_of(&acme)
        })
        .await;
    // The old token has a lifetime of 30 days with 28 left: its successor may have neither.
    installation.clock().set_ahead(2 * DAY);
    for too_long in [
        None,
        ttl(7 * DAY + MICROSECOND),
        ttl(28 * DAY),
        Some(Expiry::NoExpiry(true)),
    ] {
        for name in [&old, &endless] {
            let rotation = RotateTokenRequest {
                expiry: too_long,
                ..request(name)
            };
            assert_eq!(broken(&server, rotation).await, ["max_lifetime"], "{too_long:?}");
        }
    }
    for name in [&old, &endless] {
        let new = rotate(
            &server,
            RotateTokenRequest {
                expiry: ttl(7 * DAY),
                ..request(name)
            },
        )
        .await;
        assert_eq!(lifetime(&new.public), 7 * DAY);
        assert_eq!(
            server.verdict(question(&new.secret, &acme, &[])).await.decision(),
            Decision::Allow
        );
    }
}

/// The remaining lifetime of the old token is not added to the new one, however often and late it is rotated.
async fn repeated_rotations_do_not_extend_the_lifetime(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server
        .set_policy(TokenPolicy {
            require_expiry: true,
            max_lifetime: span(7 * DAY),
            ..policy_of(&acme)
        })
        .await;
    let mut newest = server
        .token(CreateTokenRequest {
            expiry: after(7 * DAY),
            ..token_in(&acme)
        })
        .await
        .public;
    for ahead in [Duration::ZERO, HOUR, 6 * DAY, 20 * DAY] {
        installation.clock().set_ahead(ahead);
        newest = rotate(&server, request(&newest.name)).await.public;
        assert_eq!(
            (lifetime(&newest), newest.requested_expire_time),
            (7 * DAY, newest.expire_time),
            "at {ahead:?}"
        );
    }
}

/// The old token has no expiry on purpose, so the caller of RotateToken must choose one.
async fn the_default_lifetime_does_not_apply(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let endless = create_token_request::Expiry::NoExpiry(true);
    let old = server
        .token(CreateTokenRequest {
            expiry: Some(endless),
            ..token_in(&acme)
        })
        .await
        .public
        .name;
    let policy = TokenPolicy {
        require_expiry: true,
        default_lifetime: span(DAY),
        ..policy_of(&acme)
    };
    server.set_policy(policy).await;
    assert_eq!(broken(&server, request(&old)).await, ["require_expiry"]);
    let new = rotate(
        &server,
        RotateTokenRequest {
            expiry: ttl(3 * DAY),
            ..request(&old)
        },
    )
    .await;
    assert_eq!(lifetime(&new.public), 3 * DAY);
}

async fn grants_that_are_no_longer_allowed_are_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = CreateTokenRequest {
        scopes: vec!["repository:write".to_owned(), "webhook".to_owned()],
        allowed_cidrs: vec!["10.0.0.0/8".to_owned(), "192.0.2.0/24".to_owned()],
        ..token_in(&acme)
    };
    let old = server.token(old).await.public;
    let strict = TokenPolicy {
        allowed_scopes: only(&["repository:write"]),
        allowed_cidrs: only(&["10.0.0.0/8"]),
        ..policy_of(&acme)
    };
    server.set_policy(strict).await;
    assert_eq!(
        broken(&server, request(&old.name)).await,
        ["allowed_scopes", "allowed_cidrs"],
        "the grants are not narrowed"
    );
    let wide = TokenPolicy {
        allowed_scopes: only(&["pullrequest:write", "webhook"]),
        allowed_cidrs: only(&["10.0.0.0/8", "192.0.0.0/16", "198.51.100.0/24"]),
        ..policy_of(&acme)
    };
    server.set_policy(wide).await;
    let new = rotate(&server, request(&old.name)).await.public;
    assert_eq!((new.scopes, new.effective_scopes), (old.scopes, old.effective_scopes));
    assert_eq!(new.allowed_cidrs, old.allowed_cidrs, "the grants are not widened");
}

async fn a_successor_may_not_be_used_from_more_networks(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let anywhere = server.token(token_in(&acme)).await.public;
    let from = async |networks: &[&str]| {
        server
            .set_policy(TokenPolicy {
                allowed_cidrs: only(networks),
                ..policy_of(&acme)
            })
            .await
    };
    from(&["10.0.0.0/8"]).await;
    // A successor of a token without networks gets those of the policy, as a new token does.
    let inside = rotate(&server, request(&anywhere.name)).await.public;
    assert_eq!(inside.allowed_cidrs, ["10.0.0.0/8"]);
    assert_eq!(
        server.get_token(&anywhere.name).await.allowed_cidrs,
        [""; 0],
        "the old token is unchanged"
    );
    // From then on the networks belong to the token.
    from(&["10.0.0.0/7"]).await;
    let inside = rotate(&server, request(&inside.name)).await.public;
    assert_eq!(inside.allowed_cidrs, ["10.0.0.0/8"]);
    server.set_policy(policy_of(&acme)).await;
    let inside = rotate(&server, request(&inside.name)).await.public;
    assert_eq!(inside.allowed_cidrs, ["10.0.0.0/8"]);
    from(&["192.0.2.0/24"]).await;
    assert_eq!(broken(&server, request(&inside.name)).await, ["allowed_cidrs"]);
}

async fn a_retry_is_answered_as_before(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let rotation = RotateTokenRequest {
        request_id: "once".to_owned(),
        ..request(&old)
    };
    let new = rotate(&server, rotation.clone()).await.public;
    let strict = TokenPolicy {
        max_lifetime: span(HOUR / 2),
        allowed_scopes: only(&["webhook"]),
        max_active_tokens: Some(1),
        ..policy_of(&acme)
    };
    server.set_policy(strict).await;
    let again = rotate(&server, rotation).await;
    assert_eq!(
        (again.public, again.secret.as_str()),
        (new.clone(), ""),
        "the current policy does not matter"
    );
    assert_eq!(
        broken(&server, request(&new.name)).await,
        ["max_lifetime", "allowed_scopes"]
    );
}

async fn the_policy_of_the_organization_applies_too(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let old = server.token(token_in(&acme)).await.public.name;
    server
        .set_policy(TokenPolicy {
            max_lifetime: span(HOUR / 2),
            ..policy_of(&initech)
        })
        .await;
    assert_eq!(broken(&server, request(&old)).await, ["max_lifetime"]);
    let new = rotate(
        &server,
        RotateTokenRequest {
            expiry: ttl(HOUR / 2),
            ..request(&old)
        },
    )
    .await
    .public;
    assert_eq!((new.state(), lifetime(&new)), (State::Active, HOUR / 2));
}
