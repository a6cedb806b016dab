//! `WorkspaceAdmin.ListOrganizations` returns organizations in pages, ordered by id.

use tokend_client::v1::{ListOrganizationsRequest, ListOrganizationsResponse, ListWorkspacesRequest, Role};
use tokend_tests::{Installation, Refused, Server, on_both_databases};
use tonic::{Response, Status};

on_both_databases!(
    pages_are_ordered_and_complete,
    a_page_token_works_only_for_its_own_list,
    an_invalid_field_is_named
);

async fn list(
    server: &Server,
    page_size: i32,
    page_token: &str,
) -> Result<Response<ListOrganizationsResponse>, Status> {
    let request = ListOrganizationsRequest {
        page_size,
        page_token: page_token.to_owned(),
    };
    server.admin().workspace_admin().list_organizations(request).await
}

async fn pages_are_ordered_and_complete(installation: Installation) {
    let server = installation.start().await;
    assert!(
        list(&server, 0, "")
            .await
            .expect("ListOrganizations succeeds")
            .into_inner()
            .organizations
            .is_empty()
    );
    for id in ["m-1", "zz", "aa", "m1", "m-0"] {
        server.organization(id).await;
    }
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&server, 2, &token)
            .await
            .expect("ListOrganizations succeeds")
            .into_inner();
        assert!(page.organizations.len() <= 2);
        ids.extend(page.organizations.into_iter().map(|organization| organization.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // A new organization does not shift the pages.
        server.organization(&format!("a{}", ids.len())).await;
    }
    let expected = ["aa", "m-0", "m-1", "m1", "zz"].map(|id| format!("organizations/{id}"));
    assert_eq!(ids, expected, "ordered by bytes on every database");
    assert_eq!(
        list(&server, 5_000, "")
            .await
            .expect("a large page size is capped")
            .into_inner()
            .organizations
            .len(),
        7
    );
}

async fn a_page_token_works_only_for_its_own_list(installation: Installation) {
    let server = installation.start().await;
    for id in ["aa", "bb"] {
        server.organization(id).await;
        server.workspace(id).await;
    }
    let token = list(&server, 1, "")
        .await
        .expect("ListOrganizations succeeds")
        .into_inner()
        .next_page_token;
    assert!(!token.is_empty());
    for bad in [&token[1..], "garbage", "é"] {
        list(&server, 1, bad).await.refused_field("page_token");
    }
    let request = ListWorkspacesRequest {
        page_size: 1,
        page_token: token.clone(),
    };
    server
        .admin()
        .workspace_admin()
        .list_workspaces(request)
        .await
        .refused_field("page_token");

    let auditor = server.caller("auditor", Role::Auditor).await;
    let auditor = server.client(&auditor.secret).await;
    let request = ListOrganizationsRequest {
        page_size: 1,
        page_token: token,
    };
    auditor
        .workspace_admin()
        .list_organizations(request)
        .await
        .refused_field("page_token");
    let own = ListOrganizationsRequest {
        page_size: 1,
        page_token: String::new(),
    };
    auditor
        .workspace_admin()
        .list_organizations(own)
        .await
        .expect("an auditor can list organizations");
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    for page_size in [-1, i32::MIN] {
        list(&server, page_size, "").await.refused_field("page_size");
    }
}
