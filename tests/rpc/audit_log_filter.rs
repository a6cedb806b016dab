//! `AuditLog.ListAuditEvents` with a `filter`: what a security team asks.

use tokend_client::v1::{
    AuditEvent, CreateCallerRequest, ErrorReason, GetTokenRequest, ListAuditEventsRequest, ListScopesRequest, RevokeTokenRequest,
    Role, Selection,
};
use tokend_core::time::Timestamp;
use tokend_tests::{Installation, Process, Refused, Server, on_both_databases, refusal, token_in};
use tonic::{Code, Request};

on_both_databases!(
    who_did_what_to_what_and_why,
    pages_go_on_within_the_same_filter,
    a_filter_that_cannot_be_read_is_told_where,
    the_command_line_takes_filters,
);

async fn list(server: &Server, parent: &str, filter: &str) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest { parent: parent.to_owned(), filter: filter.to_owned(), ..Default::default() };
    let told = server.admin().audit_log().list_audit_events(request).await;
    told.unwrap_or_else(|status| panic!("{filter}: {status}")).into_inner().events
}

/// The sequence numbers of the events that a filter is true of, oldest first.
async fn found(server: &Server, parent: &str, filter: &str) -> Vec<i64> {
    list(server, parent, filter).await.iter().rev().map(|event| event.sequence).collect()
}

/// Five events of `acme`: its making, a token that `ci` makes for Ada, one that the first caller makes, and their ends. The names of the
/// tokens.
async fn fill(server: &Server) -> [String; 2] {
    let acme = server.workspace("acme").await;
    let ci = server.caller_as(CreateCallerRequest {
        caller_id: "ci".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection { all: false, only: vec![acme.clone()] }),
        ..Default::default()
    });
    let ci = server.client(&ci.await.secret).await;
    let mut request = Request::new(token_in(&acme));
    request.metadata_mut().insert("x-tokend-actor", "ada@example.org".parse().expect("ASCII"));
    let first = ci.token_admin().create_token(request).await.expect("it may").into_inner().token.expect("told").name;
    let second = server.token(token_in(&acme)).await.public.name;
    let revoke = RevokeTokenRequest { name: first.clone(), reason: "found in a build log".to_owned(), no_wait: false };
    ci.token_admin().revoke_token(revoke).await.expect("it is revoked");
    server.revoke(&second).await;
    // Two refused calls, on the installation's record.
    let absent = GetTokenRequest { name: format!("{acme}/tokens/00000000001000002") };
    ci.token_admin().get_token(absent).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    let mut request = Request::new(ListScopesRequest {});
    request.metadata_mut().insert("x-tokend-actor", "x".repeat(129).parse().expect("ASCII"));
    ci.token_admin().list_scopes(request).await.refused(Code::InvalidArgument, ErrorReason::InvalidActor);
    [first, second]
}

async fn who_did_what_to_what_and_why(installation: Installation) {
    let server = installation.start().await;
    let [first, second] = fill(&server).await;
    let all = list(&server, "workspaces/acme", "").await;
    let time_of = |sequence: i64| {
        let event = all.iter().find(|event| event.sequence == sequence).expect("it is there");
        let time = event.time.as_ref().expect("it is told");
        Timestamp::from_unix_seconds(time.seconds, time.nanos.cast_unsigned()).expect("a time").to_string()
    };
    let third = time_of(3);
    for (filter, wanted) in [
        ("type = token.revoked".to_owned(), [4, 5].as_slice()),
        ("type:token".to_owned(), &[2, 3, 4, 5]),
        ("type != token.revoked".to_owned(), &[1, 2, 3]),
        ("caller = callers/ci".to_owned(), &[2, 4]),
        ("caller = \"\"".to_owned(), &[]),
        ("actor = ada@example.org".to_owned(), &[2]),
        ("address:127.0.0.0/8".to_owned(), &[1, 2, 3, 4, 5]),
        ("address:192.0.2.0/24".to_owned(), &[]),
        ("address = 127.0.0.1 AND actor != ''".to_owned(), &[2]),
        (format!("resource = {first}"), &[2, 4]),
        ("resource:workspaces/acme".to_owned(), &[1, 2, 3, 4, 5]),
        ("resource = workspaces/acme".to_owned(), &[1]),
        ("outcome = REFUSED".to_owned(), &[]),
        ("reason = 'it leaked'".to_owned(), &[5]),
        ("reason:'build log'".to_owned(), &[4]),
        (format!("time >= {third}"), &[3, 4, 5]),
        (format!("time < {third}"), &[1, 2]),
        (format!("type = token.revoked AND time >= {third} AND caller != callers/ci"), &[5]),
        (format!("resource = {second} OR resource = {first} AND type = token.created"), &[2, 3]),
    ] {
        assert_eq!(found(&server, "workspaces/acme", &filter).await, wanted, "{filter}");
    }
    let refused = list(&server, "-", "outcome = REFUSED AND caller = callers/ci").await;
    let reasons: Vec<_> = refused.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["INVALID_ACTOR", "TOKEN_NOT_FOUND"]);
    assert_eq!(found(&server, "-", "resource:callers/ci").await.len(), 2, "its making, and its key's");
    assert_eq!(found(&server, "-", "caller = '' AND type:installation").await, [1], "by whoever sat at the machine");
}

async fn pages_go_on_within_the_same_filter(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..5 {
        let token = server.token(token_in(&acme)).await.public.name;
        server.revoke(&token).await;
    }
    let ask = async |filter: &str, page_token: &str| {
        let (filter, page_token) = (filter.to_owned(), page_token.to_owned());
        let request = ListAuditEventsRequest { parent: acme.clone(), filter, page_size: 2, page_token };
        server.admin().audit_log().list_audit_events(request).await
    };
    let (mut told, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = ask("type=token.revoked", &page_token).await.expect("a page").into_inner();
        told.extend(page.events.iter().map(|event| event.sequence));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // However it is spelled.
        ask("(type = \"token.revoked\")", &page_token).await.expect("the same filter");
        for other in ["", "type = token.created"] {
            let status = ask(other, &page_token).await.expect_err("another list");
            refusal(&status, Code::InvalidArgument, ErrorReason::InvalidField);
        }
    }
    assert_eq!(told, [11, 9, 7, 5, 3]);
}

async fn a_filter_that_cannot_be_read_is_told_where(installation: Installation) {
    let server = installation.start().await;
    for (filter, told) in [
        ("type is token.revoked", "at character 6: expected =, != or : after type"),
        ("type = token.destroyed", "at character 8: expected one of installation.created,"),
        ("state = ACTIVE", "at character 1: expected type, caller,"),
    ] {
        let request = ListAuditEventsRequest { parent: "-".to_owned(), filter: filter.to_owned(), ..Default::default() };
        let failure = server.admin().audit_log().list_audit_events(request).await.refused_field("filter");
        assert!(failure.message.contains(told), "{failure:?}");
    }
}

async fn the_command_line_takes_filters(installation: Installation) {
    let server = installation.start().await;
    let [first, second] = fill(&server).await;
    let run = async |arguments: &[&str]| {
        let mut command = installation.command(["audit"].iter().chain(arguments));
        command.env("TOKEND_ADDRESS", server.grpc_address()).env("TOKEND_CALLER_KEY", server.admin_key());
        Process::spawn(command, "").finish().await.succeeded()
    };
    let revoked = ["--workspace", "acme", "--filter", "type = token.revoked"];
    let table = run(&[&["list"], &revoked[..]].concat()).await;
    assert_eq!((table.lines().count(), table.matches("token.revoked").count()), (3, 2), "{table}");
    let exported = run(&[&["export"], &revoked[..]].concat()).await;
    let events: Vec<serde_json::Value> = exported.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = events.iter().map(|event| event["resource"].as_str().expect("a name")).collect();
    assert_eq!(told, [first, second.clone()], "oldest first");
    let rest = run(&[&["export", "--after-sequence", "4"], &revoked[..]].concat()).await;
    assert!(rest.lines().count() == 1 && rest.contains(&second), "{rest}");
}
