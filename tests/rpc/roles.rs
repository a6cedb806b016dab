//! Which role may call what: every RPC of the contract times every role.

use bytes::Bytes;
use tokend_client::v1::{
    CreateCallerRequest, ErrorReason, GetTokenRequest, GetWorkspaceRequest, RevokeTokenRequest, Role, Selection,
};
use tokend_tests::{Installation, Refused, on_both_databases, raw, refusal, token_in};
use tonic::Code;

on_both_databases!(every_rpc_serves_its_roles_and_no_other, a_foreign_workspace_is_as_an_absent_one);

const ROLES: [Role; 5] = [Role::Admin, Role::WorkspaceAdmin, Role::Revoker, Role::Auditor, Role::Verifier];

/// As the contract says it. An RPC without a row fails the test.
fn roles_of(path: &str) -> &'static [Role] {
    use Role::{Admin, Auditor, Revoker, Verifier, WorkspaceAdmin};
    let (service, method) = path.strip_prefix("/tokend.v1.").and_then(|path| path.split_once('/')).expect("a path");
    match (service, method) {
        ("TokenVerify", "Verify" | "BatchVerify") => &[Admin, Verifier],
        ("TokenAdmin", "CreateToken") => &[Admin, WorkspaceAdmin],
        ("TokenAdmin", "GetToken" | "ListTokens") => &[Admin, WorkspaceAdmin, Auditor],
        ("TokenAdmin", "RevokeToken" | "BatchRevokeTokens" | "IdentifyToken") => &[Admin, WorkspaceAdmin, Revoker],
        ("TokenAdmin", "RevokeLeakedTokens") => &[Admin, Revoker],
        ("TokenAdmin", "ListScopes") => &ROLES,
        ("WorkspaceAdmin", "CreateWorkspace" | "SuspendWorkspace" | "ResumeWorkspace" | "DeleteWorkspace") => &[Admin],
        ("WorkspaceAdmin", "CreateOrganization") => &[Admin],
        ("WorkspaceAdmin", "GetOrganization" | "ListOrganizations") => &[Admin, Auditor],
        ("WorkspaceAdmin", "GetWorkspace" | "ListWorkspaces") => &[Admin, WorkspaceAdmin, Auditor],
        ("CallerAdmin", "CreateCaller" | "DeleteCaller" | "CreateCallerKey" | "RevokeCallerKey") => &[Admin],
        ("CallerAdmin", "GetCaller" | "ListCallers" | "ListCallerKeys") => &[Admin, Auditor],
        ("AuditLog", "ListAuditEvents" | "WatchAuditEvents") => &[Admin, WorkspaceAdmin, Auditor],
        _ => panic!("who may call {path}?"),
    }
}

async fn every_rpc_serves_its_roles_and_no_other(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for role in ROLES {
        let id = role.as_str_name().to_lowercase().replace('_', "-");
        let key = server.caller(&id, role).await.secret;
        for path in raw::contract_paths() {
            let answer = raw::call_as(&channel, &key, &path, Bytes::new()).await;
            if roles_of(&path).contains(&role) {
                // An empty message asks for something, or is told what it lacks.
                if let Err(status) = answer {
                    assert_ne!(status.code(), Code::PermissionDenied, "{path} serves {role:?}: {status}");
                }
            } else {
                let status = answer.expect_err(&format!("{path} does not serve {role:?}"));
                refusal(&status, Code::PermissionDenied, ErrorReason::RoleNotAllowed);
            }
        }
    }
}

async fn a_foreign_workspace_is_as_an_absent_one(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let mine = server.token(token_in(&acme)).await.public.name;
    let foreign = server.token(token_in(&other)).await.public.name;
    let absent = foreign.replacen("other", "nobody", 1);
    let limited = CreateCallerRequest {
        caller_id: "acme-admin".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection { all: false, only: vec![acme.clone()] }),
        ..Default::default()
    };
    let limited = server.caller_as(limited).await;
    let limited = server.client(&limited.secret).await;
    let (tokens, workspaces) = (limited.token_admin(), limited.workspace_admin());

    workspaces.clone().get_workspace(GetWorkspaceRequest { name: acme.clone() }).await.expect("its own");
    tokens.clone().get_token(GetTokenRequest { name: mine }).await.expect("its own");
    tokens.clone().create_token(token_in(&acme)).await.expect("its own");
    let listed = workspaces.clone().list_workspaces(tokend_client::v1::ListWorkspacesRequest::default()).await.expect("a list");
    let listed: Vec<_> = listed.into_inner().workspaces.into_iter().map(|workspace| workspace.name).collect();
    assert_eq!(listed, [acme]);

    let mut messages = Vec::new();
    for (token, workspace) in [(foreign.as_str(), other.as_str()), (absent.as_str(), "workspaces/nobody")] {
        let told = |failure: tokend_client::Failure| failure.message.replace("nobody", "other");
        let get = tokens.clone().get_token(GetTokenRequest { name: token.to_owned() }).await;
        let revoke = tokens.clone().revoke_token(RevokeTokenRequest { name: token.to_owned(), ..Default::default() }).await;
        let create = tokens.clone().create_token(token_in(workspace)).await;
        let show = workspaces.clone().get_workspace(GetWorkspaceRequest { name: workspace.to_owned() }).await;
        messages.push([
            told(get.refused(Code::NotFound, ErrorReason::TokenNotFound)),
            told(revoke.refused(Code::NotFound, ErrorReason::TokenNotFound)),
            told(create.refused(Code::NotFound, ErrorReason::WorkspaceNotFound)),
            told(show.refused(Code::NotFound, ErrorReason::WorkspaceNotFound)),
        ]);
    }
    assert_eq!(messages[0], messages[1], "nothing tells that there is such a workspace");
    assert_eq!(server.get_token(&foreign).await.revoke_time, None);
}
