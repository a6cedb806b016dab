//! `WorkspaceAdmin.ListWorkspaces` returns workspaces in pages, ordered by id.

use tokend_client::v1::{ListCallersRequest, ListWorkspacesRequest, ListWorkspacesResponse, Role};
use tokend_tests::{Installation, Refused, Server, on_both_databases};
use tonic::{Response, Status};

on_both_databases!(
    pages_are_ordered_and_complete,
    a_page_token_works_only_for_its_own_list,
    an_invalid_field_is_named
);

async fn list(server: &Server, page_size: i32, page_token: &str) -> Result<Response<ListWorkspacesResponse>, Status> {
    let request = ListWorkspacesRequest {
        page_size,
        page_token: page_token.to_owned(),
    };
    server.admin().workspace_admin().list_workspaces(request).await
}

async fn pages_are_ordered_and_complete(installation: Installation) {
    let server = installation.start().await;
    assert!(
        list(&server, 0, "")
            .await
            .expect("ListWorkspaces succeeds")
            .into_inner()
            .workspaces
            .is_empty()
    );
    for id in ["m-1", "zz", "aa", "m1", "m-0"] {
        server.workspace(id).await;
    }
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&server, 2, &token)
            .await
            .expect("ListWorkspaces succeeds")
            .into_inner();
        assert!(page.workspaces.len() <= 2);
        ids.extend(page.workspaces.into_iter().map(|workspace| workspace.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(
        ids,
        ["aa", "m-0", "m-1", "m1", "zz"].map(|id| format!("workspaces/{id}")),
        "ordered by bytes on every database"
    );
    assert_eq!(
        list(&server, 5_000, "")
            .await
            .expect("a large page size is capped")
            .into_inner()
            .workspaces
            .len(),
        5
    );
}

async fn a_page_token_works_only_for_its_own_list(installation: Installation) {
    let server = installation.start().await;
    for id in ["aa", "bb"] {
        server.workspace(id).await;
    }
    let token = list(&server, 1, "")
        .await
        .expect("ListWorkspaces succeeds")
        .into_inner()
        .next_page_token;
    assert!(!token.is_empty());
    let last = token.len() - 1;
    let changed = format!("{}{}", &token[..last], if token.ends_with('A') { 'B' } else { 'A' });
    for bad in [&changed, &token[1..], "garbage", "é"] {
        list(&server, 1, bad).await.refused_field("page_token");
    }
    let request = ListCallersRequest {
        page_size: 1,
        page_token: token.clone(),
    };
    server
        .admin()
        .caller_admin()
        .list_callers(request)
        .await
        .refused_field("page_token");

    let auditor = server.caller("auditor", Role::Auditor).await;
    let auditor = server.client(&auditor.secret).await;
    let request = ListWorkspacesRequest {
        page_size: 1,
        page_token: token,
    };
    auditor
        .workspace_admin()
        .list_workspaces(request)
        .await
        .refused_field("page_token");
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    for page_size in [-1, i32::MIN] {
        list(&server, page_size, "").await.refused_field("page_size");
    }
}
