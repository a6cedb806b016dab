//! Rows of workspaces and organizations that were edited in the database are refused.

use tokend_client::v1::{
    CreateWorkspaceRequest, DeleteWorkspaceRequest, GetOrganizationRequest, GetTokenRequest, GetWorkspaceRequest,
    ListOrganizationsRequest, ListTokensRequest, ListWorkspacesRequest, ResumeWorkspaceRequest, RevokeTokenRequest,
    SuspendWorkspaceRequest,
};
use tokend_tests::{Installation, on_both_databases, question, token_in};
use tonic::Code;

use crate::tampered_rows::{
    Outcome, Target, bytes, each_edit_is_refused, edit, edit_columns, list_outcome, moving, outcome, read_through,
};

on_both_databases!(an_edited_workspace_is_refused, an_edited_organization_is_refused,);

async fn an_edited_workspace_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (acme, empty) = (server.workspace("acme").await, server.workspace("empty").await);
    let token = server.token(token_in(&acme)).await;
    let edits = [
        edit("organization", "'initech'"),
        edit("state", "'SUSPENDED'"),
        edit_columns("state", "state = 'SUSPENDED', state_time = create_time"),
        edit("state_time", "create_time"),
        edit("create_time", "create_time + 1"),
        edit("policy", "'{}'"),
        edit("policy_update_time", "create_time"),
        edit("policy_deadlines", "'1:2'"),
        edit("mac", &bytes(&installation, 1, 34)),
    ];
    let admin = server.admin();
    let get = async |name: &str| {
        outcome(
            admin
                .workspace_admin()
                .get_workspace(GetWorkspaceRequest { name: name.to_owned() })
                .await,
        )
    };
    let list = async |name: &str, other: &str| {
        let list = admin
            .workspace_admin()
            .list_workspaces(ListWorkspacesRequest::default())
            .await;
        list_outcome(list, |list| {
            let names: Vec<_> = list.workspaces.into_iter().map(|workspace| workspace.name).collect();
            assert!(
                names.iter().any(|name| name == other),
                "the other row is listed: {names:?}"
            );
            names.iter().any(|listed| listed == name)
        })
    };
    let reads = async || {
        let tokens = ListTokensRequest {
            parent: acme.clone(),
            ..Default::default()
        };
        vec![
            (
                "Verify",
                outcome(
                    admin
                        .token_verify()
                        .verify(read_through(question(&token.secret, &acme, &[])))
                        .await,
                ),
            ),
            ("GetWorkspace", get(&acme).await),
            ("ListWorkspaces", list(&acme, &empty).await),
            (
                "GetToken",
                outcome(
                    admin
                        .token_admin()
                        .get_token(GetTokenRequest {
                            name: token.public.name.clone(),
                        })
                        .await,
                ),
            ),
            (
                "tokens in ListTokens",
                outcome(admin.token_admin().list_tokens(tokens).await),
            ),
        ]
    };
    let changes = async || {
        let revoke = RevokeTokenRequest {
            name: token.public.name.clone(),
            ..Default::default()
        };
        let suspend = SuspendWorkspaceRequest {
            name: acme.clone(),
            no_wait: false,
        };
        let resume = ResumeWorkspaceRequest { name: acme.clone() };
        let delete = DeleteWorkspaceRequest {
            name: acme.clone(),
            no_wait: false,
        };
        vec![
            (
                "CreateToken",
                outcome(admin.token_admin().create_token(token_in(&acme)).await),
            ),
            ("RevokeToken", outcome(admin.token_admin().revoke_token(revoke).await)),
            (
                "SuspendWorkspace",
                outcome(admin.workspace_admin().suspend_workspace(suspend).await),
            ),
            (
                "ResumeWorkspace",
                outcome(admin.workspace_admin().resume_workspace(resume).await),
            ),
            (
                "DeleteWorkspace",
                outcome(admin.workspace_admin().delete_workspace(delete).await),
            ),
        ]
    };
    // Foreign keys protect the id of a workspace with tokens. The edit below is of a workspace without tokens.
    let uncovered = &["id", "display_name", "token_count"];
    let target = Target {
        table: "workspaces",
        row: "id = 'acme'",
        uncovered,
    };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;

    assert_eq!(
        installation
            .sql("UPDATE workspaces SET id = 'empire' WHERE id = 'empty'")
            .await,
        1
    );
    assert_eq!(get(&empty).await, Outcome::Refused(Code::NotFound));
    assert_eq!(get("workspaces/empire").await, Outcome::Refused(Code::Internal));
    assert_eq!(list("workspaces/empire", &acme).await, Outcome::Absent);
    let created = admin.token_admin().create_token(token_in("workspaces/empire")).await;
    assert_eq!(outcome(created), Outcome::Refused(Code::Internal));
}

async fn an_edited_organization_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (initech, other) = (server.organization("initech").await, server.organization("other").await);
    let acme = server.workspace_in("acme", &initech).await;
    let token = server.token(token_in(&acme)).await;
    let edits = [
        moving("id", "'umbrella'"),
        edit("create_time", "create_time + 1"),
        edit("policy", "'{}'"),
        edit("policy_update_time", "create_time"),
        edit("policy_deadlines", "'1:2'"),
        edit("mac", &bytes(&installation, 1, 34)),
    ];
    let (tokens, verifier) = (server.admin().token_admin(), server.admin().token_verify());
    let admin = server.admin().workspace_admin();
    let reads = async || {
        let list = list_outcome(
            admin
                .clone()
                .list_organizations(ListOrganizationsRequest::default())
                .await,
            |list| {
                let names: Vec<_> = list
                    .organizations
                    .into_iter()
                    .map(|organization| organization.name)
                    .collect();
                assert!(names.contains(&other), "the other row is listed: {names:?}");
                names.contains(&initech)
            },
        );
        let get = GetOrganizationRequest { name: initech.clone() };
        let workspace = GetWorkspaceRequest { name: acme.clone() };
        let get_token = GetTokenRequest {
            name: token.public.name.clone(),
        };
        let list_tokens = ListTokensRequest {
            parent: acme.clone(),
            ..Default::default()
        };
        // The calls about tokens need the organization, because its policy limits them.
        vec![
            ("GetOrganization", outcome(admin.clone().get_organization(get).await)),
            ("ListOrganizations", list),
            ("GetWorkspace", outcome(admin.clone().get_workspace(workspace).await)),
            (
                "Verify",
                outcome(
                    verifier
                        .clone()
                        .verify(read_through(question(&token.secret, &acme, &[])))
                        .await,
                ),
            ),
            ("GetToken", outcome(tokens.clone().get_token(get_token).await)),
            (
                "tokens in ListTokens",
                outcome(tokens.clone().list_tokens(list_tokens).await),
            ),
        ]
    };
    let changes = async || {
        let request = CreateWorkspaceRequest {
            workspace_id: "beta".to_owned(),
            display_name: "Beta".to_owned(),
            organization: initech.clone(),
        };
        let revoke = RevokeTokenRequest {
            name: token.public.name.clone(),
            ..Default::default()
        };
        vec![
            (
                "CreateWorkspace",
                outcome(admin.clone().create_workspace(request).await),
            ),
            (
                "CreateToken",
                outcome(tokens.clone().create_token(token_in(&acme)).await),
            ),
            ("RevokeToken", outcome(tokens.clone().revoke_token(revoke).await)),
        ]
    };
    let target = Target {
        table: "organizations",
        row: "display_name = 'INITECH'",
        uncovered: &["display_name"],
    };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}
