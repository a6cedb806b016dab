//! `WorkspaceAdmin.GetWorkspace` returns a workspace and the number of its active tokens.

use tokend_client::v1::{ErrorReason, GetWorkspaceRequest, workspace::State};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(
    it_counts_the_active_tokens,
    an_absent_workspace_is_not_found,
    an_invalid_name_is_refused
);

async fn it_counts_the_active_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let (one, _) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.token(token_in(&other)).await;
    let get = async || {
        let request = GetWorkspaceRequest { name: acme.clone() };
        let got = server
            .admin()
            .workspace_admin()
            .get_workspace(request)
            .await
            .expect("GetWorkspace succeeds");
        got.into_inner().workspace.expect("`workspace` is set")
    };
    let workspace = get().await;
    assert_eq!(
        (workspace.name.as_str(), workspace.display_name.as_str()),
        ("workspaces/acme", "ACME")
    );
    assert_eq!((workspace.state(), workspace.active_token_count), (State::Active, 2));
    server.revoke(&one.public.name).await;
    server.revoke(&one.public.name).await;
    assert_eq!(
        get().await.active_token_count,
        1,
        "a repeated revocation does not count"
    );
}

async fn an_absent_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = GetWorkspaceRequest {
        name: "workspaces/nobody".to_owned(),
    };
    let answer = server.admin().workspace_admin().get_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_invalid_name_is_refused(installation: Installation) {
    let server = installation.start().await;
    for name in [
        "",
        "acme",
        "workspaces/",
        "workspaces/Acme",
        "workspaces/acme/",
        "organizations/acme",
        "workspaces/-",
    ] {
        let request = GetWorkspaceRequest { name: name.to_owned() };
        server
            .admin()
            .workspace_admin()
            .get_workspace(request)
            .await
            .refused_field("name");
    }
}
