//! `AuditLog.ListAuditEvents` with a `filter` returns the events that match it.

use tokend_client::v1::{
    AuditEvent, CreateCallerRequest, ErrorReason, GetTokenRequest, ListAuditEventsRequest, ListScopesRequest,
    RevokeTokenRequest, Role, Selection,
};
use tokend_core::time::Timestamp;
use tokend_tests::{Installation, Process, Refused, Server, on_both_databases, refusal, token_in};
use tonic::{Code, Request};

on_both_databases!(
    each_field_finds_its_events,
    pages_continue_within_the_same_filter,
    a_malformed_filter_is_refused_with_its_position,
    the_command_line_accepts_filters,
);

async fn list(server: &Server, parent: &str, filter: &str) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest {
        parent: parent.to_owned(),
        filter: filter.to_owned(),
        ..Default::default()
    };
    let response = server.admin().audit_log().list_audit_events(request).await;
    response
        .unwrap_or_else(|status| panic!("{filter}: {status}"))
        .into_inner()
        .events
}

/// Returns the sequence numbers of the events that match a filter, oldest first.
async fn found(server: &Server, parent: &str, filter: &str) -> Vec<i64> {
    list(server, parent, filter)
        .await
        .iter()
        .rev()
        .map(|event| event.sequence)
        .collect()
}

/// Records five events of `acme`: its creation, a token that `ci` creates for Ada, one that the first caller creates,
/// and their revocations. Returns the names of the tokens.
async fn fill(server: &Server) -> [String; 2] {
    let acme = server.workspace("acme").await;
    let ci = server.caller_as(CreateCallerRequest {
        caller_id: "ci".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![acme.clone()],
        }),
        ..Default::default()
    });
    let ci = server.client(&ci.await.secret).await;
    let mut request = Request::new(token_in(&acme));
    request.metadata_mut().insert(
        "x-tokend-actor",
        "ada@example.org".parse().expect("the header value is ASCII"),
    );
    let first = ci
        .token_admin()
        .create_token(request)
        .await
        .expect("CreateToken succeeds")
        .into_inner()
        .token
        .expect("`token` is set")
        .name;
    let second = server.token(token_in(&acme)).await.public.name;
    let revoke = RevokeTokenRequest {
        name: first.clone(),
        reason: "found in a build log".to_owned(),
        no_wait: false,
    };
    ci.token_admin()
        .revoke_token(revoke)
        .await
        .expect("RevokeToken succeeds");
    server.revoke(&second).await;
    // These two refused calls are recorded in the installation's chain.
    let absent = GetTokenRequest {
        name: format!("{acme}/tokens/00000000001000002"),
    };
    ci.token_admin()
        .get_token(absent)
        .await
        .refused(Code::NotFound, ErrorReason::TokenNotFound);
    let mut request = Request::new(ListScopesRequest {});
    request.metadata_mut().insert(
        "x-tokend-actor",
        "x".repeat(129).parse().expect("the header value is ASCII"),
    );
    ci.token_admin()
        .list_scopes(request)
        .await
        .refused(Code::InvalidArgument, ErrorReason::InvalidActor);
    [first, second]
}

async fn each_field_finds_its_events(installation: Installation) {
    let server = installation.start().await;
    let [first, second] = fill(&server).await;
    let all = list(&server, "workspaces/acme", "").await;
    let time_of = |sequence: i64| {
        let event = all
            .iter()
            .find(|event| event.sequence == sequence)
            .expect("the event is listed");
        let time = event.time.as_ref().expect("`time` is set");
        Timestamp::from_unix_seconds(time.seconds, time.nanos.cast_unsigned())
            .expect("the timestamp is valid")
            .to_string()
    };
    let third = time_of(3);
    for (filter, expected) in [
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
        (
            format!("type = token.revoked AND time >= {third} AND caller != callers/ci"),
            &[5],
        ),
        (
            format!("resource = {second} OR resource = {first} AND type = token.created"),
            &[2, 3],
        ),
    ] {
        assert_eq!(found(&server, "workspaces/acme", &filter).await, expected, "{filter}");
    }
    let refused = list(&server, "-", "outcome = REFUSED AND caller = callers/ci").await;
    let reasons: Vec<_> = refused.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["INVALID_ACTOR", "TOKEN_NOT_FOUND"]);
    assert_eq!(
        found(&server, "-", "resource:callers/ci").await.len(),
        2,
        "its creation, and its key's"
    );
    assert_eq!(
        found(&server, "-", "caller = '' AND type:installation").await,
        [1],
        "recorded without a caller"
    );
}

async fn pages_continue_within_the_same_filter(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..5 {
        let token = server.token(token_in(&acme)).await.public.name;
        server.revoke(&token).await;
    }
    let ask = async |filter: &str, page_token: &str| {
        let (filter, page_token) = (filter.to_owned(), page_token.to_owned());
        let request = ListAuditEventsRequest {
            parent: acme.clone(),
            filter,
            page_size: 2,
            page_token,
        };
        server.admin().audit_log().list_audit_events(request).await
    };
    let (mut sequences, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = ask("type=token.revoked", &page_token)
            .await
            .expect("ListAuditEvents succeeds")
            .into_inner();
        sequences.extend(page.events.iter().map(|event| event.sequence));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // The spelling of the filter does not matter.
        ask("(type = \"token.revoked\")", &page_token)
            .await
            .expect("an equivalent filter continues the list");
        for other in ["", "type = token.created"] {
            let status = ask(other, &page_token)
                .await
                .expect_err("the page token belongs to another filter");
            refusal(&status, Code::InvalidArgument, ErrorReason::InvalidField);
        }
    }
    assert_eq!(sequences, [11, 9, 7, 5, 3]);
}

async fn a_malformed_filter_is_refused_with_its_position(installation: Installation) {
    let server = installation.start().await;
    for (filter, message) in [
        (
            "type is token.revoked",
            "at character 6: expected =, != or : after type",
        ),
        (
            "type = token.destroyed",
            "at character 8: expected one of installation.created,",
        ),
        ("state = ACTIVE", "at character 1: expected type, caller,"),
    ] {
        let request = ListAuditEventsRequest {
            parent: "-".to_owned(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        let failure = server
            .admin()
            .audit_log()
            .list_audit_events(request)
            .await
            .refused_field("filter");
        assert!(failure.message.contains(message), "{failure:?}");
    }
}

async fn the_command_line_accepts_filters(installation: Installation) {
    let server = installation.start().await;
    let [first, second] = fill(&server).await;
    let run = async |arguments: &[&str]| {
        let mut command = installation.command(["audit"].iter().chain(arguments));
        command
            .env("TOKEND_ADDRESS", server.grpc_address())
            .env("TOKEND_CALLER_KEY", server.admin_key());
        Process::spawn(command, "").finish().await.succeeded()
    };
    let revoked = ["--workspace", "acme", "--filter", "type = token.revoked"];
    let table = run(&[&["list"], &revoked[..]].concat()).await;
    assert_eq!(
        (table.lines().count(), table.matches("token.revoked").count()),
        (3, 2),
        "{table}"
    );
    let exported = run(&[&["export"], &revoked[..]].concat()).await;
    let events: Vec<serde_json::Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).expect("the output is JSON"))
        .collect();
    let resources: Vec<_> = events
        .iter()
        .map(|event| event["resource"].as_str().expect("the resource is a string"))
        .collect();
    assert_eq!(resources, [first, second.clone()], "oldest first");
    let rest = run(&[&["export", "--after-sequence", "4"], &revoked[..]].concat()).await;
    assert!(rest.lines().count() == 1 && rest.contains(&second), "{rest}");
}
