//! `WorkspaceAdmin.GetWorkspace`.

use tokend_client::v1::{ErrorReason, GetWorkspaceRequest, workspace::State};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(it_tells_how_many_tokens_work, an_absent_one_is_not_found, an_ill_formed_name_is_told_as_such);

async fn it_tells_how_many_tokens_work(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let (one, _) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.token(token_in(&other)).await;
    let get = async || {
        let request = GetWorkspaceRequest { name: acme.clone() };
        let got = server.admin().workspace_admin().get_workspace(request).await.expect("it is there");
        got.into_inner().workspace.expect("it is told")
    };
    let workspace = get().await;
    assert_eq!((workspace.name.as_str(), workspace.display_name.as_str()), ("workspaces/acme", "ACME"));
    assert_eq!((workspace.state(), workspace.active_token_count), (State::Active, 2));
    server.revoke(&one.public.name).await;
    server.revoke(&one.public.name).await;
    assert_eq!(get().await.active_token_count, 1, "revoked once, however often");
}

async fn an_absent_one_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = GetWorkspaceRequest { name: "workspaces/nobody".to_owned() };
    let answer = server.admin().workspace_admin().get_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_ill_formed_name_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    for name in ["", "acme", "workspaces/", "workspaces/Acme", "workspaces/acme/", "organizations/acme", "workspaces/-"] {
        let request = GetWorkspaceRequest { name: name.to_owned() };
        server.admin().workspace_admin().get_workspace(request).await.refused_field("name");
    }
}
