//! `AuditLog.ListAuditEvents` and `AuditLog.WatchAuditEvents`: what was done, page by page, and as it happens.

use std::{fs, time::Duration};

use tokend_client::{
    Client,
    v1::{
        AuditEvent, CreateCallerRequest, ErrorReason, ListAuditEventsRequest, ListAuditEventsResponse, RevokeCallerKeyRequest,
        Role, Selection, UpdateTokenPolicyRequest, WatchAuditEventsRequest, WatchAuditEventsResponse, audit_event::Outcome,
        token_policy::ExistingTokens,
    },
};
use tokend_tests::{
    Installation, Process, Records, Refused, Server, max_lifetime, on_both_databases, on_sqlite, refusal, token_in,
};
use tokio::time::timeout;
use tonic::{Code, Response, Status, Streaming};

on_both_databases!(
    pages_are_newest_first_and_complete,
    a_page_token_is_good_for_its_own_list_alone,
    workspace_admins_see_their_own,
    a_revoker_sees_what_became_of_tokens,
    a_watch_tells_every_event_once_and_in_order,
    a_watch_goes_on_where_it_ended,
    a_watch_ends_with_its_key,
    what_lies_outside_of_what_is_kept_is_told,
);

mod anywhere {
    use super::*;

    on_sqlite!(
        a_watch_does_not_hold_up_the_end,
        an_edited_record_is_not_told,
        the_command_line_tells_it,
        the_command_line_goes_on_when_its_connection_ends,
    );

    async fn a_watch_does_not_hold_up_the_end(installation: Installation) {
        let server = installation.start().await;
        let mut watch = watch(server.admin(), "-", 0).await.expect("it is served").into_inner();
        for _ in 0..3 {
            watch.message().await.expect("no failure").expect("an event");
        }
        let finished = timeout(Duration::from_secs(10), server.stop()).await.expect("it does not wait for the watch");
        assert!(finished.status.success(), "{finished:#?}");
        assert_eq!(watch.message().await.expect("it ends well"), None);
    }

    async fn an_edited_record_is_not_told(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        server.token(token_in(&acme)).await;
        let mut records = Records::of_installation(&installation).await;
        records.execute("UPDATE audit_events SET detail = 'nothing' WHERE chain = 'acme' AND sequence = 2").await;
        let events = list(server.admin(), &acme, 0, "").await.expect("the rest").into_inner().events;
        assert_eq!(sequences(&events), [1]);
        let mut watch = watch(server.admin(), &acme, 0).await.expect("it is served").into_inner();
        // Who follows must miss none.
        let status = loop {
            if let Err(status) = watch.message().await {
                break status;
            }
        };
        refusal(&status, Code::Internal, ErrorReason::InternalFault);
    }

    async fn the_command_line_tells_it(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        for _ in 0..3 {
            server.token(token_in(&acme)).await;
        }
        let command = |arguments: &[&str]| {
            let mut command = installation.command(arguments);
            command.args(["--address", server.grpc_address()]).env("TOKEND_CALLER_KEY", server.admin_key());
            command
        };
        let run = async |arguments: &[&str]| Process::spawn(command(arguments), "").finish().await.succeeded();
        let table = run(&["audit", "list", "--workspace", "acme"]).await;
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.lines().nth(4).expect("the oldest").contains("workspace.created"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&run(&["audit", "list", "-o", "json"]).await).expect("JSON");
        assert_eq!(json["events"][0]["type"], "workspace.created");

        let lines = |text: String| -> Vec<serde_json::Value> {
            text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
        };
        let all = lines(run(&["audit", "export", "--workspace", "acme"]).await);
        assert_eq!(all.iter().map(|event| event["sequence"].as_str().expect("64 bits")).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
        let rest = lines(run(&["audit", "export", "--workspace", "acme", "--after-sequence", "3"]).await);
        assert_eq!(rest, all[3..]);
        assert!(run(&["audit", "export", "--workspace", "acme", "--after-sequence", "4"]).await.is_empty());

        let watching =
            Process::spawn(command(&["audit", "watch", "--workspace", "acme", "--after-sequence", "3", "-o", "json"]), "");
        tokend_tests::eventually("the event is told", async || (watching.stdout().lines().count() == 1).then_some(())).await;
        assert_eq!(lines(watching.stdout()), all[3..]);
    }

    async fn the_command_line_goes_on_when_its_connection_ends(installation: Installation) {
        let config = installation.directory().join("config.toml");
        let limits = "[limits]\nconnection_age_ms = 500\nconnection_age_jitter_percent = 0\nconnection_age_grace_ms = 100\n";
        fs::write(&config, limits).expect("it can be written");
        let server = installation.start_with(["--config", config.to_str().expect("UTF-8")]).await;
        let acme = server.workspace("acme").await;
        let mut command = installation.command(["audit", "watch", "--workspace", "acme"]);
        command.args(["--address", server.grpc_address()]).env("TOKEND_CALLER_KEY", server.admin_key());
        let watching = Process::spawn(command, "");
        let told =
            || watching.stdout().lines().map(|line| line.split(' ').next().expect("a number").to_owned()).collect::<Vec<_>>();
        for sequence in 1..=4 {
            tokend_tests::eventually("the event is told", async || (told().len() == sequence).then_some(())).await;
            // Longer than a connection lives.
            tokio::time::sleep(Duration::from_millis(700)).await;
            server.token(token_in(&acme)).await;
        }
        tokend_tests::eventually("the event is told", async || (told().len() == 5).then_some(())).await;
        assert_eq!(told(), ["1", "2", "3", "4", "5"], "each once, in order");
    }
}

async fn list(
    client: &Client,
    parent: &str,
    page_size: i32,
    page_token: &str,
) -> Result<Response<ListAuditEventsResponse>, Status> {
    let request =
        ListAuditEventsRequest { parent: parent.to_owned(), filter: String::new(), page_size, page_token: page_token.to_owned() };
    client.audit_log().list_audit_events(request).await
}

async fn watch(client: &Client, parent: &str, after: i64) -> Result<Response<Streaming<WatchAuditEventsResponse>>, Status> {
    client.audit_log().watch_audit_events(WatchAuditEventsRequest { parent: parent.to_owned(), after_sequence: after }).await
}

async fn next(watch: &mut Streaming<WatchAuditEventsResponse>) -> AuditEvent {
    let told = timeout(Duration::from_secs(30), watch.message()).await.expect("in time").expect("no failure");
    told.expect("it goes on").event.expect("told")
}

fn sequences(events: &[AuditEvent]) -> Vec<i64> {
    events.iter().map(|event| event.sequence).collect()
}

async fn limited(server: &Server, workspace: &str) -> Client {
    let request = CreateCallerRequest {
        caller_id: "team".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection { all: false, only: vec![workspace.to_owned()] }),
        ..Default::default()
    };
    server.client(&server.caller_as(request).await.secret).await
}

async fn pages_are_newest_first_and_complete(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    for _ in 0..3 {
        server.token(token_in(&acme)).await;
    }
    server.revoke(&token).await;
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list(server.admin(), &acme, 2, &page_token).await.expect("a page").into_inner();
        assert!(page.events.len() <= 2);
        // What happens meanwhile shifts nothing.
        server.token(token_in(&acme)).await;
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sequences(&events), [6, 5, 4, 3, 2, 1]);
    assert!(events.windows(2).all(|pair| pair[0].previous_hash == pair[1].hash && pair[0].hash.len() == 32));
    let [revoked, .., created, made] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!([&revoked.r#type, &created.r#type, &made.r#type], ["token.revoked", "token.created", "workspace.created"]);
    assert_eq!((revoked.resource.as_str(), revoked.reason.as_str()), (token.as_str(), "it leaked"));
    assert_eq!((revoked.caller.as_str(), revoked.address.as_str()), ("callers/admin", "127.0.0.1"));
    assert_eq!((revoked.outcome(), made.previous_hash.as_slice()), (Outcome::Done, &[0; 32][..]));
    let told = server.get_token(&token).await;
    assert!(revoked.time.expect("told").seconds - told.revoke_time.expect("told").seconds <= 1);
}

async fn a_page_token_is_good_for_its_own_list_alone(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    for workspace in [&acme, &other] {
        server.token(token_in(workspace)).await;
    }
    let page_token = list(server.admin(), &acme, 1, "").await.expect("a page").into_inner().next_page_token;
    assert_eq!(list(server.admin(), &acme, 1, &page_token).await.expect("its own").into_inner().events.len(), 1);
    for parent in [&other, "-"] {
        list(server.admin(), parent, 1, &page_token).await.refused_field("page_token");
    }
    let auditor = server.caller("auditor", Role::Auditor).await;
    list(&server.client(&auditor.secret).await, &acme, 1, &page_token).await.refused_field("page_token");
    for parent in ["", "acme", "workspaces/", "workspaces/-", "callers/admin", "--"] {
        list(server.admin(), parent, 0, "").await.refused_field("parent");
        watch(server.admin(), parent, 0).await.refused_field("parent");
    }
    list(server.admin(), &acme, -1, "").await.refused_field("page_size");
    watch(server.admin(), &acme, -1).await.refused_field("after_sequence");
}

async fn a_revoker_sees_what_became_of_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.revoke(&token.public.name).await;
    let policy = max_lifetime(&acme, Duration::from_secs(24 * 60 * 60), ExistingTokens::Keep);
    let request = UpdateTokenPolicyRequest { policy: Some(policy), ..Default::default() };
    server.admin().workspace_admin().update_token_policy(request).await.expect("a policy");
    let responder = server.caller("responder", Role::Revoker).await;
    let responder = server.client(&responder.secret).await;
    let seen = async |filter: &str, page_token: &str| {
        let (filter, page_token) = (filter.to_owned(), page_token.to_owned());
        let request = ListAuditEventsRequest { parent: acme.clone(), filter, page_token, page_size: 1 };
        let ListAuditEventsResponse { events, next_page_token } =
            responder.audit_log().list_audit_events(request).await.expect("it may").into_inner();
        (events.into_iter().map(|event| event.r#type).collect::<Vec<_>>(), next_page_token)
    };
    let (newest, next) = seen("", "").await;
    assert_eq!(newest, ["token.revoked"], "not the policy's event");
    assert_eq!(seen("", &next).await, (vec!["token.created".to_owned()], String::new()));
    assert_eq!(seen("type = token.created OR type = policy.updated", "").await.0, ["token.created"]);
    assert_eq!(seen("type = policy.updated", "").await, (Vec::new(), String::new()));
    list(&responder, "-", 0, "").await.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    watch(&responder, &acme, 0).await.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
}

async fn workspace_admins_see_their_own(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let team = limited(&server, &acme).await;
    assert_eq!(list(&team, &acme, 0, "").await.expect("its own").into_inner().events.len(), 1);
    watch(&team, &acme, 0).await.expect("its own");
    let mut messages = Vec::new();
    for foreign in [other.as_str(), "workspaces/nobody"] {
        let told = |failure: tokend_client::Failure| failure.message.replace("nobody", "other");
        messages.push([
            told(list(&team, foreign, 0, "").await.refused(Code::NotFound, ErrorReason::WorkspaceNotFound)),
            told(watch(&team, foreign, 0).await.refused(Code::NotFound, ErrorReason::WorkspaceNotFound)),
        ]);
    }
    assert_eq!(messages[0], messages[1], "nothing tells that there is such a workspace");
    list(&team, "-", 0, "").await.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    watch(&team, "-", 0).await.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    list(server.admin(), "workspaces/nobody", 0, "").await.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn a_watch_tells_every_event_once_and_in_order(installation: Installation) {
    const WRITERS: usize = 4;
    const WRITES: usize = 15;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut early = watch(server.admin(), &acme, 0).await.expect("it is served").into_inner();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (client, request) = (server.admin().clone(), token_in(&acme));
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    client.token_admin().create_token(request.clone()).await.expect("a token is made");
                }
            })
        })
        .collect();
    let mut late = watch(server.admin(), &acme, 1).await.expect("it is served").into_inner();
    let all = (WRITERS * WRITES) as i64 + 1;
    let mut told = Vec::new();
    for sequence in 1..=all {
        let event = next(&mut early).await;
        assert_eq!(event.sequence, sequence);
        told.push(event);
    }
    for sequence in 2..=all {
        assert_eq!(next(&mut late).await.sequence, sequence);
    }
    assert!(told.windows(2).all(|pair| pair[1].previous_hash == pair[0].hash));
    for writer in writers {
        writer.await.expect("it ends");
    }
}

async fn a_watch_goes_on_where_it_ended(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..3 {
        server.token(token_in(&acme)).await;
    }
    let mut first = watch(server.admin(), &acme, 0).await.expect("it is served").into_inner();
    assert_eq!([next(&mut first).await.sequence, next(&mut first).await.sequence], [1, 2]);
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());

    let successor = installation.serve(&key).await;
    successor.token(token_in(&acme)).await;
    let mut second = watch(successor.admin(), &acme, 2).await.expect("it is served").into_inner();
    for sequence in 3..=5 {
        assert_eq!(next(&mut second).await.sequence, sequence);
    }
    // At the end of the chain it waits.
    let mut third = watch(successor.admin(), &acme, 5).await.expect("it is served").into_inner();
    successor.token(token_in(&acme)).await;
    assert_eq!(next(&mut third).await.sequence, 6);
}

async fn a_watch_ends_with_its_key(installation: Installation) {
    let server = installation.start().await;
    let auditor = server.caller("auditor", Role::Auditor).await;
    let client = server.client(&auditor.secret).await;
    let mut watch = watch(&client, "-", 0).await.expect("it is served").into_inner();
    next(&mut watch).await;
    let revoke = RevokeCallerKeyRequest { name: auditor.public, no_wait: false };
    server.admin().caller_admin().revoke_caller_key(revoke).await.expect("it is revoked");
    let ended = async {
        loop {
            if let Err(status) = watch.message().await {
                break status;
            }
        }
    };
    let status = timeout(Duration::from_secs(30), ended).await.expect("in time");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
}

async fn what_lies_outside_of_what_is_kept_is_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for after in [2, 1_000, i64::MAX] {
        watch(server.admin(), &acme, after).await.refused(Code::OutOfRange, ErrorReason::AuditPositionGone);
    }
    watch(server.admin(), &acme, 1).await.expect("the end");
}
