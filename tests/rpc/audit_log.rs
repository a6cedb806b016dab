//! `AuditLog.ListAuditEvents` returns events in pages. `AuditLog.WatchAuditEvents` sends them as they happen.

use std::time::Duration;

use tokend_client::{
    Client,
    v1::{
        AuditEvent, CreateCallerRequest, ErrorReason, ListAuditEventsRequest, ListAuditEventsResponse, Role, Selection,
        UpdateTokenPolicyRequest, WatchAuditEventsRequest, WatchAuditEventsResponse, audit_event::Outcome,
        token_policy::ExistingTokens,
    },
};
use tokend_tests::{Installation, Refused, Server, max_lifetime, on_both_databases, token_in};
use tokio::time::timeout;
use tonic::{Code, Response, Status, Streaming};

on_both_databases!(
    pages_are_newest_first_and_complete,
    a_page_token_works_only_for_its_own_list,
    workspace_admins_see_only_their_workspaces,
    a_revoker_sees_only_token_events,
    a_position_after_the_last_event_is_refused,
);

pub(crate) async fn list(
    client: &Client,
    parent: &str,
    page_size: i32,
    page_token: &str,
) -> Result<Response<ListAuditEventsResponse>, Status> {
    let request = ListAuditEventsRequest {
        parent: parent.to_owned(),
        filter: String::new(),
        page_size,
        page_token: page_token.to_owned(),
    };
    client.audit_log().list_audit_events(request).await
}

pub(crate) async fn watch(
    client: &Client,
    parent: &str,
    after: i64,
) -> Result<Response<Streaming<WatchAuditEventsResponse>>, Status> {
    client
        .audit_log()
        .watch_audit_events(WatchAuditEventsRequest {
            parent: parent.to_owned(),
            after_sequence: after,
        })
        .await
}

pub(crate) async fn next(watch: &mut Streaming<WatchAuditEventsResponse>) -> AuditEvent {
    let message = timeout(Duration::from_secs(30), watch.message())
        .await
        .expect("the watch responds in time")
        .expect("the watch does not fail");
    message.expect("the watch stays open").event.expect("`event` is set")
}

pub(crate) fn sequences(events: &[AuditEvent]) -> Vec<i64> {
    events.iter().map(|event| event.sequence).collect()
}

async fn limited(server: &Server, workspace: &str) -> Client {
    let request = CreateCallerRequest {
        caller_id: "team".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![workspace.to_owned()],
        }),
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
        let page = list(server.admin(), &acme, 2, &page_token)
            .await
            .expect("ListAuditEvents succeeds")
            .into_inner();
        assert!(page.events.len() <= 2);
        // A new event does not shift the pages.
        server.token(token_in(&acme)).await;
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sequences(&events), [6, 5, 4, 3, 2, 1]);
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].previous_hash == pair[1].hash && pair[0].hash.len() == 32)
    );
    let [revoked, .., created, workspace_created] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert_eq!(
        [&revoked.r#type, &created.r#type, &workspace_created.r#type],
        ["token.revoked", "token.created", "workspace.created"]
    );
    assert_eq!(
        (revoked.resource.as_str(), revoked.reason.as_str()),
        (token.as_str(), "it leaked")
    );
    assert_eq!(
        (revoked.caller.as_str(), revoked.address.as_str()),
        ("callers/admin", "127.0.0.1")
    );
    assert_eq!(
        (revoked.outcome(), workspace_created.previous_hash.as_slice()),
        (Outcome::Done, &[0; 32][..])
    );
    let token = server.get_token(&token).await;
    assert!(
        revoked.time.expect("`time` is set").seconds - token.revoke_time.expect("`revoke_time` is set").seconds <= 1
    );
}

async fn a_page_token_works_only_for_its_own_list(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    for workspace in [&acme, &other] {
        server.token(token_in(workspace)).await;
    }
    let page_token = list(server.admin(), &acme, 1, "")
        .await
        .expect("ListAuditEvents succeeds")
        .into_inner()
        .next_page_token;
    assert_eq!(
        list(server.admin(), &acme, 1, &page_token)
            .await
            .expect("ListAuditEvents succeeds")
            .into_inner()
            .events
            .len(),
        1
    );
    for parent in [&other, "-"] {
        list(server.admin(), parent, 1, &page_token)
            .await
            .refused_field("page_token");
    }
    let auditor = server.caller("auditor", Role::Auditor).await;
    list(&server.client(&auditor.secret).await, &acme, 1, &page_token)
        .await
        .refused_field("page_token");
    for parent in ["", "acme", "workspaces/", "workspaces/-", "callers/admin", "--"] {
        list(server.admin(), parent, 0, "").await.refused_field("parent");
        watch(server.admin(), parent, 0).await.refused_field("parent");
    }
    list(server.admin(), &acme, -1, "").await.refused_field("page_size");
    watch(server.admin(), &acme, -1).await.refused_field("after_sequence");
}

async fn a_revoker_sees_only_token_events(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.revoke(&token.public.name).await;
    let policy = max_lifetime(&acme, Duration::from_secs(24 * 60 * 60), ExistingTokens::Keep);
    let request = UpdateTokenPolicyRequest {
        policy: Some(policy),
        ..Default::default()
    };
    server
        .admin()
        .workspace_admin()
        .update_token_policy(request)
        .await
        .expect("UpdateTokenPolicy succeeds");
    let responder = server.caller("responder", Role::Revoker).await;
    let responder = server.client(&responder.secret).await;
    let seen = async |filter: &str, page_token: &str| {
        let (filter, page_token) = (filter.to_owned(), page_token.to_owned());
        let request = ListAuditEventsRequest {
            parent: acme.clone(),
            filter,
            page_token,
            page_size: 1,
        };
        let ListAuditEventsResponse {
            events,
            next_page_token,
        } = responder
            .audit_log()
            .list_audit_events(request)
            .await
            .expect("ListAuditEvents succeeds")
            .into_inner();
        (
            events.into_iter().map(|event| event.r#type).collect::<Vec<_>>(),
            next_page_token,
        )
    };
    let (newest, next) = seen("", "").await;
    assert_eq!(newest, ["token.revoked"], "not the policy's event");
    assert_eq!(seen("", &next).await, (vec!["token.created".to_owned()], String::new()));
    assert_eq!(
        seen("type = token.created OR type = policy.updated", "").await.0,
        ["token.created"]
    );
    assert_eq!(seen("type = policy.updated", "").await, (Vec::new(), String::new()));
    list(&responder, "-", 0, "")
        .await
        .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    watch(&responder, &acme, 0)
        .await
        .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
}

async fn workspace_admins_see_only_their_workspaces(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let team = limited(&server, &acme).await;
    assert_eq!(
        list(&team, &acme, 0, "")
            .await
            .expect("ListAuditEvents succeeds")
            .into_inner()
            .events
            .len(),
        1
    );
    watch(&team, &acme, 0).await.expect("WatchAuditEvents succeeds");
    let mut messages = Vec::new();
    for foreign in [other.as_str(), "workspaces/nobody"] {
        let message_of = |failure: tokend_client::CallError| failure.message.replace("nobody", "other");
        messages.push([
            message_of(
                list(&team, foreign, 0, "")
                    .await
                    .refused(Code::NotFound, ErrorReason::WorkspaceNotFound),
            ),
            message_of(
                watch(&team, foreign, 0)
                    .await
                    .refused(Code::NotFound, ErrorReason::WorkspaceNotFound),
            ),
        ]);
    }
    assert_eq!(
        messages[0], messages[1],
        "the error does not reveal that the workspace exists"
    );
    list(&team, "-", 0, "")
        .await
        .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    watch(&team, "-", 0)
        .await
        .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    list(server.admin(), "workspaces/nobody", 0, "")
        .await
        .refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn a_position_after_the_last_event_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for after in [2, 1_000, i64::MAX] {
        watch(server.admin(), &acme, after)
            .await
            .refused(Code::OutOfRange, ErrorReason::AuditPositionGone);
    }
    watch(server.admin(), &acme, 1)
        .await
        .expect("WatchAuditEvents succeeds");
}
