//! `TokenAdmin.CreateToken` creates a token and returns its secret, which no later call returns again.

use std::{collections::BTreeMap, time::Duration};

use prost_types::Timestamp;
use tokend_client::v1::{
    CreateTokenRequest, Decision, ErrorReason, GetWorkspaceRequest, create_token_request::Expiry, token::State,
};
use tokend_tests::{Installation, Refused, Server, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    a_token_is_created_as_requested,
    secrets_have_the_documented_form_and_are_unique,
    every_way_to_choose_an_expiry,
    a_valid_expiry_must_be_chosen,
    a_retry_returns_the_same_token_without_its_secret,
    a_preview_creates_nothing,
    a_missing_workspace_is_not_found,
);

const YEAR_10000: i64 = 253_402_300_800;

async fn a_token_is_created_as_requested(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest {
        display_name: "Déploiement 🚀".to_owned(),
        description: "two\nlines".to_owned(),
        scopes: vec!["webhook".to_owned(), "pullrequest".to_owned()],
        resource: format!("{acme}/projects/web"),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        labels: BTreeMap::from([
            ("team".to_owned(), "web".to_owned()),
            ("empty".to_owned(), String::new()),
        ]),
        ..token_in(&acme)
    };
    let issued = server.token(request.clone()).await;
    let token = &issued.public;
    assert!(token.name.starts_with("workspaces/acme/tokens/"), "{}", token.name);
    assert_eq!(token.workspace, acme);
    assert_eq!(token.resource, request.resource);
    assert_eq!(token.display_name, request.display_name);
    assert_eq!(token.description, request.description);
    assert_eq!(token.state(), State::Active);
    assert_eq!(sorted(&token.scopes), ["pullrequest", "webhook"]);
    assert_eq!(
        sorted(&token.effective_scopes),
        ["pullrequest", "repository", "webhook"]
    );
    assert_eq!(token.allowed_cidrs, request.allowed_cidrs);
    assert_eq!(token.labels, request.labels);
    assert!(token.creator.starts_with("callers/"), "{}", token.creator);
    assert_eq!(token.expire_time, token.requested_expire_time);
    let (created, expire_time) = (
        token.create_time.expect("`create_time` is set"),
        token.expire_time.expect("`expire_time` is set"),
    );
    assert_eq!(
        (expire_time.seconds - created.seconds, expire_time.nanos),
        (3_600, created.nanos),
        "exactly an hour"
    );
    assert_eq!(
        (token.revoke_time, token.revoker.as_str(), token.revoke_reason.as_str()),
        (None, "", "")
    );
    assert_eq!(
        server.get_token(&token.name).await,
        *token,
        "the response equals the stored token"
    );
    let verdict = server.verdict(tokend_client::v1::VerifyRequest {
        client_address: "192.0.2.1".to_owned(),
        ..question(&issued.secret, &token.resource, &["pullrequest"])
    });
    assert_eq!(verdict.await.decision(), Decision::Allow);
}

fn sorted(scopes: &[String]) -> Vec<&str> {
    let mut scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
    scopes.sort_unstable();
    scopes
}

async fn secrets_have_the_documented_form_and_are_unique(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (one, other) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    for issued in [&one, &other] {
        // tkdw_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}
        let parts: Vec<_> = issued.secret.split('_').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [4, 18, 50]);
        assert_eq!(parts[0], "tkdw");
        assert!(parts.concat().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let id = issued.public.name.rsplit('/').next().expect("the name ends with an id");
        assert_eq!(
            &parts[1][1..],
            id,
            "the secret contains the token's id, so that a found secret can be revoked by name"
        );
        let hint = issued.public.hint.strip_suffix("...").expect("the hint ends with dots");
        assert!(
            issued.secret.starts_with(hint) && (6..=23).contains(&hint.len()),
            "{hint}"
        );
    }
    assert_ne!(one.public.name, other.public.name);
    assert_ne!(one.secret[24..57], other.secret[24..57]);
}

async fn every_way_to_choose_an_expiry(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let expire_time = async |expiry: Expiry| {
        let token = server
            .token(CreateTokenRequest {
                expiry: Some(expiry),
                ..token_in(&acme)
            })
            .await;
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.decision(),
            Decision::Allow
        );
        token.public.expire_time
    };
    assert_eq!(expire_time(Expiry::NoExpiry(true)).await, None);
    let last = Timestamp {
        seconds: YEAR_10000 - 1,
        nanos: 999_999_000,
    };
    assert_eq!(expire_time(Expiry::ExpireTime(last)).await, Some(last));
    let tick = Timestamp {
        seconds: 4_102_444_800,
        nanos: 123_456_789,
    };
    assert_eq!(
        expire_time(Expiry::ExpireTime(tick)).await,
        Some(Timestamp {
            nanos: 123_456_000,
            ..tick
        }),
        "microseconds, rounded down"
    );
    assert!(
        expire_time(after(Duration::from_secs(60)).expect("the expiry is set"))
            .await
            .is_some()
    );
}

async fn a_valid_expiry_must_be_chosen(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let create = async |expiry: Option<Expiry>| {
        server
            .admin()
            .token_admin()
            .create_token(CreateTokenRequest {
                expiry,
                ..token_in(&acme)
            })
            .await
    };
    let span = |seconds, nanos| Some(Expiry::Ttl(prost_types::Duration { seconds, nanos }));
    let time = |seconds, nanos| Some(Expiry::ExpireTime(Timestamp { seconds, nanos }));
    create(None).await.refused_field("expiry");
    create(Some(Expiry::NoExpiry(false))).await.refused_field("no_expiry");
    for ttl in [
        span(0, 0),
        span(-1, 0),
        span(0, -1),
        span(1, -1),
        span(0, 999),
        span(0, 1_000_000_000),
        span(i64::MAX, 0),
    ] {
        create(ttl).await.refused_field("ttl");
    }
    // The duration is valid, but the expiry would be after the year 9999.
    create(span(300_000_000_000, 0)).await.refused_field("ttl");
    for at in [
        time(0, 0),
        time(1_600_000_000, 0),
        time(YEAR_10000, 0),
        time(i64::MAX, 0),
        time(i64::MIN, 0),
        time(4_102_444_800, -1),
    ] {
        create(at).await.refused_field("expire_time");
    }
    assert_eq!(active_tokens(&server, &acme).await, 0, "no token was created");
}

pub(crate) async fn active_tokens(server: &Server, workspace: &str) -> i64 {
    let request = GetWorkspaceRequest {
        name: workspace.to_owned(),
    };
    let got = server
        .admin()
        .workspace_admin()
        .get_workspace(request)
        .await
        .expect("GetWorkspace succeeds");
    got.into_inner()
        .workspace
        .expect("`workspace` is set")
        .active_token_count
}

async fn a_retry_returns_the_same_token_without_its_secret(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let request = CreateTokenRequest {
        request_id: "8c5b3c1e-0000-4000-8000-000000000001".to_owned(),
        ..token_in(&acme)
    };
    let first = server.token(request.clone()).await;
    let again = server.token(request.clone()).await;
    assert_eq!(again.public, first.public);
    assert_eq!(again.secret, "", "only a digest of the secret is stored");

    let changed = CreateTokenRequest {
        display_name: "cd".to_owned(),
        ..request.clone()
    };
    let failure = server
        .admin()
        .token_admin()
        .create_token(changed)
        .await
        .refused(Code::InvalidArgument, ErrorReason::RequestIdReused);
    assert_eq!(failure.fields.len(), 1);
    assert_eq!(failure.fields[0].field, "request_id");

    // A request id is unique for each caller and parent.
    let elsewhere = server
        .token(CreateTokenRequest {
            parent: other,
            ..request.clone()
        })
        .await;
    assert_ne!(elsewhere.public.name, first.public.name);
    let second_admin = server.caller("second-admin", tokend_client::v1::Role::Admin).await;
    let second_admin = server.client(&second_admin.secret).await;
    let theirs = second_admin
        .token_admin()
        .create_token(request.clone())
        .await
        .expect("CreateToken succeeds")
        .into_inner();
    assert!(!theirs.secret.is_empty());
    assert_eq!(active_tokens(&server, &acme).await, 2);

    // Two concurrent requests with the same id create one token.
    let request = CreateTokenRequest {
        request_id: "at once".to_owned(),
        ..request
    };
    let (one, two) = tokio::join!(server.token(request.clone()), server.token(request));
    assert_eq!(one.public, two.public);
    assert!(
        one.secret.is_empty() != two.secret.is_empty(),
        "one of them has the secret"
    );
}

async fn a_preview_creates_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let preview = CreateTokenRequest {
        validate_only: true,
        ..token_in(&acme)
    };
    let previewed = server.token(preview.clone()).await;
    assert_eq!(previewed.secret, "");
    assert_eq!(
        (previewed.public.name.as_str(), previewed.public.hint.as_str()),
        ("", ""),
        "a preview has no name"
    );
    assert_eq!(previewed.public.resource, acme);
    assert_eq!(previewed.public.effective_scopes, ["repository", "repository:write"]);
    assert_eq!(active_tokens(&server, &acme).await, 0);
    let missing = CreateTokenRequest {
        parent: "workspaces/nobody".to_owned(),
        ..preview
    };
    server
        .admin()
        .token_admin()
        .create_token(missing)
        .await
        .refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn a_missing_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let answer = server
        .admin()
        .token_admin()
        .create_token(token_in("workspaces/nobody"))
        .await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}
