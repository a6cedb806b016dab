//! `TokenAdmin.RotateToken` returns a new secret with the same grants, and expires the old one after the overlap.

use std::{collections::BTreeMap, time::Duration};

use prost_types::Timestamp;
use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, ErrorReason, ListTokensRequest, RotateTokenRequest, RotateTokenResponse,
    Token, rotate_token_request::Expiry, token::State,
};
use tokend_tests::{Installation, Issued, Records, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    the_successor_has_the_same_grants,
    a_retry_returns_the_same_successor_and_rotates_nothing,
    concurrent_rotations_create_one_successor,
    both_changes_are_recorded,
);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn request(name: &str) -> RotateTokenRequest {
    RotateTokenRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn overlap(name: &str, overlap: Duration) -> RotateTokenRequest {
    RotateTokenRequest {
        overlap: Some(overlap.try_into().expect("a span")),
        ..request(name)
    }
}

pub(crate) async fn call(
    server: &Server,
    request: RotateTokenRequest,
) -> Result<Response<RotateTokenResponse>, Status> {
    server.admin().token_admin().rotate_token(request).await
}

/// Rotates a token, and returns the new token and the old one.
pub(crate) async fn rotate(server: &Server, request: RotateTokenRequest) -> (Issued<Token>, Token) {
    let RotateTokenResponse {
        token,
        secret,
        predecessor,
        revision,
    } = call(server, request).await.expect("RotateToken succeeds").into_inner();
    assert!(revision.is_some());
    (
        Issued {
            public: token.expect("a token"),
            secret,
        },
        predecessor.expect("a predecessor"),
    )
}

pub(crate) async fn decision(server: &Server, secret: &str) -> (Decision, DenyReason) {
    let verdict = server
        .verdict(question(secret, "workspaces/acme", &["repository:write"]))
        .await;
    (verdict.decision(), verdict.deny_reason())
}

pub(crate) const ALLOW: (Decision, DenyReason) = (Decision::Allow, DenyReason::Unspecified);
pub(crate) const EXPIRED: (Decision, DenyReason) = (Decision::Deny, DenyReason::Expired);

pub(crate) fn micros(time: Option<Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

pub(crate) fn span(token: &Token) -> Duration {
    Duration::from_micros((micros(token.expire_time) - micros(token.create_time)).unsigned_abs())
}

pub(crate) async fn list(server: &Server, acme: &str) -> Vec<Token> {
    let list = ListTokensRequest {
        parent: acme.to_owned(),
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
    let expected = Token {
        name: new.public.name.clone(),
        hint: new.public.hint.clone(),
        create_time: new.public.create_time,
        expire_time: new.public.expire_time,
        requested_expire_time: new.public.expire_time,
        rotated_from: old.public.name.clone(),
        ..old.public.clone()
    };
    assert_eq!(new.public, expected);
    assert_ne!(new.public.name, old.public.name);
    assert_eq!(span(&new.public), HOUR);
    assert_ne!(new.secret[24..57], old.secret[24..57]);
    let expected = Token {
        expire_time: predecessor.expire_time,
        rotated_to: new.public.name.clone(),
        ..old.public.clone()
    };
    assert_eq!(predecessor, expected, "only the expiry and the successor change");
    assert_eq!(
        micros(predecessor.expire_time) - micros(new.public.create_time),
        30 * 60 * 1_000_000,
        "the default overlap is half an hour"
    );

    assert_eq!(
        server.get_token(&old.public.name).await,
        predecessor,
        "the answer matches the stored token"
    );
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

pub(crate) fn ttl(span: Duration) -> Option<Expiry> {
    Some(Expiry::Ttl(span.try_into().expect("a span")))
}

async fn a_retry_returns_the_same_successor_and_rotates_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server
        .token(CreateTokenRequest {
            expiry: after(100 * HOUR),
            ..token_in(&acme)
        })
        .await;
    let first = RotateTokenRequest {
        request_id: "rotation-1".to_owned(),
        ..overlap(&old.public.name, HOUR)
    };
    let (new, predecessor) = rotate(&server, first.clone()).await;
    assert!(!new.secret.is_empty());
    for retry in [
        first.clone(),
        RotateTokenRequest {
            no_wait: true,
            ..first.clone()
        },
    ] {
        let (again, same) = rotate(&server, retry).await;
        assert_eq!(
            (&again.public, again.secret.as_str(), &same),
            (&new.public, "", &predecessor)
        );
    }
    assert_eq!(
        decision(&server, &new.secret).await,
        ALLOW,
        "a retry leaves the successor active"
    );
    assert_eq!(server.get_token(&new.public.name).await.rotated_to, "");
    assert_eq!(list(&server, &acme).await.len(), 2);

    // The same request id with another request is refused: a client may have lost the first answer.
    let other_requests = [
        RotateTokenRequest {
            name: new.public.name.clone(),
            ..first.clone()
        },
        RotateTokenRequest {
            overlap: None,
            ..first.clone()
        },
        RotateTokenRequest {
            expiry: ttl(HOUR),
            ..first.clone()
        },
    ];
    for other in other_requests {
        call(&server, other)
            .await
            .refused(Code::InvalidArgument, ErrorReason::RequestIdReused);
    }
    assert_eq!(server.get_token(&new.public.name).await, new.public);

    // For a day, a retry returns both tokens in their current state.
    server.revoke(&new.public.name).await;
    installation.clock().set_ahead(23 * HOUR);
    let (again, same) = rotate(&server, first.clone()).await;
    assert_eq!((again.public.state(), same.state()), (State::Revoked, State::Expired));
    installation.clock().set_ahead(25 * HOUR);
    call(&server, first)
        .await
        .refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
}

async fn concurrent_rotations_create_one_successor(installation: Installation) {
    const CALLS: usize = 20;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for request_id in ["the-same-for-all", ""] {
        let old = server.token(token_in(&acme)).await;
        let before = list(&server, &acme).await.len();
        let rotate = RotateTokenRequest {
            request_id: request_id.to_owned(),
            ..request(&old.public.name)
        };
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            // Each call has its own connection, so that the calls run concurrently.
            let (client, request) = (server.client(server.admin_key()).await, rotate.clone());
            calls.push(tokio::spawn(
                async move { client.token_admin().rotate_token(request).await },
            ));
        }
        let (mut secrets, mut names, mut refused) = (Vec::new(), Vec::new(), 0);
        for call in calls {
            match call.await.expect("the task does not panic") {
                Ok(answer) => {
                    let RotateTokenResponse { token, secret, .. } = answer.into_inner();
                    names.push(token.expect("a token").name);
                    secrets.extend((!secret.is_empty()).then_some(secret));
                }
                answer => {
                    answer.refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, if request_id.is_empty() { CALLS - 1 } else { 0 });
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        assert_eq!(secrets.len(), 1, "the secret is returned once");
        assert_eq!(decision(&server, &secrets[0]).await, ALLOW);
        assert_eq!(list(&server, &acme).await.len(), before + 1);
        assert_eq!(server.get_token(&old.public.name).await.rotated_to, names[0]);
    }
}

async fn both_changes_are_recorded(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let mut records = Records::of_installation(&installation).await;
    let before = records.of("acme").await.len();
    let rotation = RotateTokenRequest {
        request_id: "once".to_owned(),
        ..request(&old)
    };
    let (new, _) = rotate(&server, rotation.clone()).await;
    let new = new.public.name;
    rotate(&server, rotation).await;
    let recorded = records.of("acme").await.split_off(before);
    let recorded: Vec<_> = recorded
        .iter()
        .map(|record| [&record.kind, &record.resource, &record.detail].map(String::as_str))
        .collect();
    let detail = format!("repository:write on {acme}, for 3600 s, to replace {old}");
    let expected = [
        ["token.created", &new, &detail],
        ["token.rotated", &old, &format!("replaced by {new}")],
    ];
    assert_eq!(recorded, expected, "the retry is not recorded");
    let server_stopped = server.stop().await;
    assert!(server_stopped.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
