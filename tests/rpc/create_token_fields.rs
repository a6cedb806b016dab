//! `TokenAdmin.CreateToken` names each invalid field. Its limits are inclusive.

use std::collections::BTreeMap;

use tokend_client::v1::{CreateTokenRequest, DenyReason};
use tokend_tests::{Installation, Refused, on_both_databases, question, token_in};

use crate::create_token::active_tokens;

on_both_databases!(
    an_invalid_field_is_named,
    limits_are_inclusive,
    all_invalid_fields_are_reported_at_once,
);

async fn an_invalid_field_is_named(installation: Installation) {
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
        ("scopes[1]", |request| {
            request.scopes.push("repository:everything".to_owned())
        }),
        ("scopes[1]", |request| request.scopes.push("Repository".to_owned())),
        ("scopes[1]", |request| {
            request.scopes.push("repository:write".to_owned())
        }),
        ("scopes[0]", |request| request.scopes[0] = "x".repeat(10_000)),
        ("resource", |request| {
            request.resource = "workspaces/acme-2/repositories/site".to_owned()
        }),
        ("resource", |request| request.resource = "workspaces/acme-2".to_owned()),
        ("resource", |request| request.resource = "repositories/site".to_owned()),
        ("resource", |request| {
            request.resource = "workspaces/acme/../acme-2".to_owned()
        }),
        ("resource", |request| request.resource = "workspaces/acme/.".to_owned()),
        ("resource", |request| {
            request.resource = "workspaces/acme//site".to_owned()
        }),
        ("resource", |request| {
            request.resource = "workspaces/acme/a\nb".to_owned()
        }),
        ("resource", |request| {
            request.resource = format!("workspaces/acme{}", "/a".repeat(15))
        }),
        ("resource", |request| {
            request.resource = format!("workspaces/acme/{}", "a".repeat(129))
        }),
        ("allowed_cidrs[0]", |request| {
            request.allowed_cidrs = vec!["192.0.2.1".to_owned()]
        }),
        ("allowed_cidrs[0]", |request| {
            request.allowed_cidrs = vec!["192.0.2.1/24".to_owned()]
        }),
        ("allowed_cidrs[0]", |request| {
            request.allowed_cidrs = vec!["192.0.2.0/33".to_owned()]
        }),
        ("allowed_cidrs[1]", |request| {
            request.allowed_cidrs = vec!["::/0".to_owned(), "anywhere".to_owned()]
        }),
        ("allowed_cidrs", |request| {
            request.allowed_cidrs = (0..65).map(|n| format!("10.0.{n}.0/24")).collect()
        }),
        ("labels", |request| {
            request.labels = BTreeMap::from([("Team".to_owned(), String::new())])
        }),
        ("labels", |request| {
            request.labels = BTreeMap::from([("team".to_owned(), "x".repeat(129))])
        }),
        ("labels", |request| {
            request.labels = (0..17).map(|n| (format!("k{n}"), String::new())).collect()
        }),
        ("request_id", |request| request.request_id = "x".repeat(37)),
        ("request_id", |request| request.request_id = "é".to_owned()),
    ];
    for (field, change) in changes {
        let mut request = token_in(&acme);
        change(&mut request);
        server
            .admin()
            .token_admin()
            .create_token(request)
            .await
            .refused_field(field);
    }
    assert_eq!(active_tokens(&server, &acme).await, 0, "no token was created");
}

async fn limits_are_inclusive(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let largest = CreateTokenRequest {
        display_name: "é".repeat(120),
        description: "é".repeat(1_000),
        resource: format!("{acme}{}", "/abcdefghij".repeat(14)),
        allowed_cidrs: (0..64).map(|n| format!("10.0.{n}.0/24")).collect(),
        labels: (10..26)
            .map(|n| (format!("k{}{n}", "-".repeat(60)), "é".repeat(128)))
            .collect(),
        request_id: "~".repeat(36),
        ..token_in(&acme)
    };
    let issued = server.token(largest).await;
    assert_eq!(server.get_token(&issued.public.name).await, issued.public);
    let verdict = server
        .verdict(question(&issued.secret, &issued.public.resource, &[]))
        .await;
    assert_eq!(verdict.deny_reason(), DenyReason::AddressNotAllowed);
}

async fn all_invalid_fields_are_reported_at_once(installation: Installation) {
    let server = installation.start().await;
    let request = CreateTokenRequest::default();
    let status = server
        .admin()
        .token_admin()
        .create_token(request)
        .await
        .expect_err("every required field is missing");
    let fields: Vec<_> = tokend_client::CallError::from(status)
        .fields
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["parent", "display_name", "scopes", "expiry"]);
}
