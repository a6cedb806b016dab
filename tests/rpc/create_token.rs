//! `TokenAdmin.CreateToken`: the only time that a secret is told.

use std::{collections::BTreeMap, time::Duration};

use prost_types::Timestamp;
use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, ErrorReason, GetWorkspaceRequest, create_token_request::Expiry, token::State,
};
use tokend_tests::{Installation, Refused, Server, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    a_token_is_what_was_asked_for,
    its_secret_is_of_the_documented_form_and_never_twice_the_same,
    every_way_to_choose_its_end,
    nothing_ends_without_a_choice,
    a_retry_returns_the_same_token_without_its_secret,
    a_rehearsal_makes_nothing,
    a_missing_workspace_is_not_found,
    a_field_that_does_not_fit_is_named,
    limits_are_inclusive,
    all_that_does_not_fit_is_told_at_once,
);

const YEAR_10000: i64 = 253_402_300_800;

async fn a_token_is_what_was_asked_for(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest {
        display_name: "Déploiement 🚀".to_owned(),
        description: "two\nlines".to_owned(),
        scopes: vec!["webhook".to_owned(), "pullrequest".to_owned()],
        resource: format!("{acme}/projects/web"),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())]),
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
    assert_eq!(sorted(&token.effective_scopes), ["pullrequest", "repository", "webhook"]);
    assert_eq!(token.allowed_cidrs, request.allowed_cidrs);
    assert_eq!(token.labels, request.labels);
    assert!(token.creator.starts_with("callers/"), "{}", token.creator);
    assert_eq!(token.expire_time, token.requested_expire_time);
    let (made, ends) = (token.create_time.expect("told"), token.expire_time.expect("it ends"));
    assert_eq!((ends.seconds - made.seconds, ends.nanos), (3_600, made.nanos), "exactly an hour");
    assert_eq!((token.revoke_time, token.revoker.as_str(), token.revoke_reason.as_str()), (None, "", ""));
    assert_eq!(server.get_token(&token.name).await, *token, "what was told is what was kept");
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

async fn its_secret_is_of_the_documented_form_and_never_twice_the_same(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (one, other) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    for issued in [&one, &other] {
        // tkdw_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}
        let parts: Vec<_> = issued.secret.split('_').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [4, 18, 50]);
        assert_eq!(parts[0], "tkdw");
        assert!(parts.concat().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let id = issued.public.name.rsplit('/').next().expect("a name ends with an id");
        assert_eq!(&parts[1][1..], id, "the id in a secret is the token's, so that a found secret can be revoked by name");
        let hint = issued.public.hint.strip_suffix("...").expect("a hint is cut");
        assert!(issued.secret.starts_with(hint) && (6..=23).contains(&hint.len()), "{hint}");
    }
    assert_ne!(one.public.name, other.public.name);
    assert_ne!(one.secret[24..57], other.secret[24..57]);
}

async fn every_way_to_choose_its_end(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let ends = async |expiry: Expiry| {
        let token = server.token(CreateTokenRequest { expiry: Some(expiry), ..token_in(&acme) }).await;
        assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.decision(), Decision::Allow);
        token.public.expire_time
    };
    assert_eq!(ends(Expiry::NoExpiry(true)).await, None);
    let last = Timestamp { seconds: YEAR_10000 - 1, nanos: 999_999_000 };
    assert_eq!(ends(Expiry::ExpireTime(last)).await, Some(last));
    let tick = Timestamp { seconds: 4_102_444_800, nanos: 123_456_789 };
    assert_eq!(ends(Expiry::ExpireTime(tick)).await, Some(Timestamp { nanos: 123_456_000, ..tick }), "microseconds, rounded down");
    assert!(ends(after(Duration::from_secs(60)).expect("an expiry")).await.is_some());
}

async fn nothing_ends_without_a_choice(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let create = async |expiry: Option<Expiry>| {
        server.admin().token_admin().create_token(CreateTokenRequest { expiry, ..token_in(&acme) }).await
    };
    let span = |seconds, nanos| Some(Expiry::Ttl(prost_types::Duration { seconds, nanos }));
    let time = |seconds, nanos| Some(Expiry::ExpireTime(Timestamp { seconds, nanos }));
    create(None).await.refused_field("expiry");
    create(Some(Expiry::NoExpiry(false))).await.refused_field("no_expiry");
    for ttl in [span(0, 0), span(-1, 0), span(0, -1), span(1, -1), span(0, 999), span(0, 1_000_000_000), span(i64::MAX, 0)] {
        create(ttl).await.refused_field("ttl");
    }
    // Well-formed, and past the year 9999.
    create(span(300_000_000_000, 0)).await.refused_field("ttl");
    for at in
        [time(0, 0), time(1_600_000_000, 0), time(YEAR_10000, 0), time(i64::MAX, 0), time(i64::MIN, 0), time(4_102_444_800, -1)]
    {
        create(at).await.refused_field("expire_time");
    }
    assert_eq!(active_tokens(&server, &acme).await, 0, "nothing was made");
}

async fn active_tokens(server: &Server, workspace: &str) -> i64 {
    let request = GetWorkspaceRequest { name: workspace.to_owned() };
    let got = server.admin().workspace_admin().get_workspace(request).await.expect("it is there");
    got.into_inner().workspace.expect("it is told").active_token_count
}

async fn a_retry_returns_the_same_token_without_its_secret(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let request = CreateTokenRequest { request_id: "8c5b3c1e-0000-4000-8000-000000000001".to_owned(), ..token_in(&acme) };
    let first = server.token(request.clone()).await;
    let again = server.token(request.clone()).await;
    assert_eq!(again.public, first.public);
    assert_eq!(again.secret, "", "only a digest is kept");

    let changed = CreateTokenRequest { display_name: "cd".to_owned(), ..request.clone() };
    let failure =
        server.admin().token_admin().create_token(changed).await.refused(Code::InvalidArgument, ErrorReason::RequestIdReused);
    assert_eq!(failure.fields.len(), 1);
    assert_eq!(failure.fields[0].field, "request_id");

    // The id is unique for the caller and the parent.
    let elsewhere = server.token(CreateTokenRequest { parent: other, ..request.clone() }).await;
    assert_ne!(elsewhere.public.name, first.public.name);
    let second_admin = server.caller("second-admin", tokend_client::v1::Role::Admin).await;
    let second_admin = server.client(&second_admin.secret).await;
    let theirs = second_admin.token_admin().create_token(request.clone()).await.expect("a token of their own").into_inner();
    assert!(!theirs.secret.is_empty());
    assert_eq!(active_tokens(&server, &acme).await, 2);

    // Sent twice at once, it makes one token.
    let request = CreateTokenRequest { request_id: "at once".to_owned(), ..request };
    let (one, two) = tokio::join!(server.token(request.clone()), server.token(request));
    assert_eq!(one.public, two.public);
    assert!(one.secret.is_empty() != two.secret.is_empty(), "one of them has the secret");
}

async fn a_rehearsal_makes_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let rehearsal = CreateTokenRequest { validate_only: true, ..token_in(&acme) };
    let told = server.token(rehearsal.clone()).await;
    assert_eq!(told.secret, "");
    assert_eq!((told.public.name.as_str(), told.public.hint.as_str()), ("", ""), "no token has this name");
    assert_eq!(told.public.resource, acme);
    assert_eq!(told.public.effective_scopes, ["repository", "repository:write"]);
    assert_eq!(active_tokens(&server, &acme).await, 0);
    let missing = CreateTokenRequest { parent: "workspaces/nobody".to_owned(), ..rehearsal };
    server.admin().token_admin().create_token(missing).await.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn a_missing_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let answer = server.admin().token_admin().create_token(token_in("workspaces/nobody")).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn a_field_that_does_not_fit_is_named(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.workspace("acme-2").await;
    type Change = fn(&mut CreateTokenRequest);
    let changes: &[(&str, Change)] = &[
        ("parent", |request| request.parent.clear()),
        ("parent", |request| request.parent = "acme".to_owned()),
        ("parent", |request| request.parent = "workspaces/Acme".to_owned()),
        ("parent", |request| request.parent.push('/')),
        ("display_name", |request| request.display_name.clear()),
        ("display_name", |request| request.display_name = "  ".to_owned()),
        ("display_name", |request| request.display_name = "x".repeat(121)),
        ("display_name", |request| request.display_name = "a\u{0}b".to_owned()),
        ("description", |request| request.description = "x".repeat(1_001)),
        ("scopes", |request| request.scopes.clear()),
        ("scopes[0]", |request| request.scopes[0].clear()),
        ("scopes[1]", |request| request.scopes.push("repository:everything".to_owned())),
        ("scopes[1]", |request| request.scopes.push("Repository".to_owned())),
        ("scopes[1]", |request| request.scopes.push("repository:write".to_owned())),
        ("scopes[0]", |request| request.scopes[0] = "x".repeat(10_000)),
        ("resource", |request| request.resource = "workspaces/acme-2/repositories/site".to_owned()),
        ("resource", |request| request.resource = "workspaces/acme-2".to_owned()),
        ("resource", |request| request.resource = "repositories/site".to_owned()),
        ("resource", |request| request.resource = "workspaces/acme/../acme-2".to_owned()),
        ("resource", |request| request.resource = "workspaces/acme/.".to_owned()),
        ("resource", |request| request.resource = "workspaces/acme//site".to_owned()),
        ("resource", |request| request.resource = "workspaces/acme/a\nb".to_owned()),
        ("resource", |request| request.resource = format!("workspaces/acme{}", "/a".repeat(15))),
        ("resource", |request| request.resource = format!("workspaces/acme/{}", "a".repeat(129))),
        ("allowed_cidrs[0]", |request| request.allowed_cidrs = vec!["192.0.2.1".to_owned()]),
        ("allowed_cidrs[0]", |request| request.allowed_cidrs = vec!["192.0.2.1/24".to_owned()]),
        ("allowed_cidrs[0]", |request| request.allowed_cidrs = vec!["192.0.2.0/33".to_owned()]),
        ("allowed_cidrs[1]", |request| request.allowed_cidrs = vec!["::/0".to_owned(), "anywhere".to_owned()]),
        ("allowed_cidrs", |request| request.allowed_cidrs = (0..65).map(|n| format!("10.0.{n}.0/24")).collect()),
        ("labels", |request| request.labels = BTreeMap::from([("Team".to_owned(), String::new())])),
        ("labels", |request| request.labels = BTreeMap::from([("team".to_owned(), "x".repeat(129))])),
        ("labels", |request| request.labels = (0..17).map(|n| (format!("k{n}"), String::new())).collect()),
        ("request_id", |request| request.request_id = "x".repeat(37)),
        ("request_id", |request| request.request_id = "é".to_owned()),
    ];
    for (field, change) in changes {
        let mut request = token_in(&acme);
        change(&mut request);
        server.admin().token_admin().create_token(request).await.refused_field(field);
    }
    assert_eq!(active_tokens(&server, &acme).await, 0, "nothing was made");
}

async fn limits_are_inclusive(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let largest = CreateTokenRequest {
        display_name: "é".repeat(120),
        description: "é".repeat(1_000),
        resource: format!("{acme}{}", "/abcdefghij".repeat(14)),
        allowed_cidrs: (0..64).map(|n| format!("10.0.{n}.0/24")).collect(),
        labels: (10..26).map(|n| (format!("k{}{n}", "-".repeat(60)), "é".repeat(128))).collect(),
        request_id: "~".repeat(36),
        ..token_in(&acme)
    };
    let issued = server.token(largest).await;
    assert_eq!(server.get_token(&issued.public.name).await, issued.public);
    let verdict = server.verdict(question(&issued.secret, &issued.public.resource, &[])).await;
    assert_eq!(verdict.deny_reason(), DenyReason::AddressNotAllowed);
}

async fn all_that_does_not_fit_is_told_at_once(installation: Installation) {
    let server = installation.start().await;
    let request = CreateTokenRequest::default();
    let status = server.admin().token_admin().create_token(request).await.expect_err("nothing of it fits");
    let fields: Vec<_> = tokend_client::Failure::from(status).fields.into_iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["parent", "display_name", "scopes", "expiry"]);
}
