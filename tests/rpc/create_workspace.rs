//! `WorkspaceAdmin.CreateWorkspace`: ids are permanent and never used again.

use tokend_client::v1::{CreateWorkspaceRequest, ErrorReason, workspace::State};
use tokend_tests::{Installation, Refused, on_both_databases};
use tonic::Code;

on_both_databases!(
    a_workspace_is_what_was_asked_for,
    it_may_belong_to_an_organization,
    a_taken_id_is_told_as_such,
    a_field_that_does_not_fit_is_named
);

fn request(id: &str) -> CreateWorkspaceRequest {
    CreateWorkspaceRequest { workspace_id: id.to_owned(), display_name: "Acme".to_owned(), organization: String::new() }
}

async fn a_workspace_is_what_was_asked_for(installation: Installation) {
    let server = installation.start().await;
    for id in ["ac", "acme-2", &"a".repeat(63)] {
        let request = CreateWorkspaceRequest { display_name: "é".repeat(120), ..request(id) };
        let made = server.admin().workspace_admin().create_workspace(request).await.expect("it is made").into_inner();
        let made = made.workspace.expect("it is told");
        assert_eq!(made.name, format!("workspaces/{id}"));
        assert_eq!(made.display_name, "é".repeat(120));
        assert_eq!((made.organization.as_str(), made.state(), made.active_token_count), ("", State::Active, 0));
        assert!(made.create_time.is_some());
    }
}

async fn it_may_belong_to_an_organization(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let create = async |id: &str, organization: &str| {
        let request = CreateWorkspaceRequest { organization: organization.to_owned(), ..request(id) };
        server.admin().workspace_admin().create_workspace(request).await
    };
    let made = create("acme", &initech).await.expect("it is made").into_inner().workspace.expect("it is told");
    assert_eq!(made.organization, initech);
    assert_eq!(server.get_workspace(&made.name).await, made);
    // It stays there, whatever becomes of it.
    assert_eq!(server.suspend(&made.name).await.workspace.expect("told").organization, initech);
    assert_eq!(server.resume(&made.name).await.workspace.expect("told"), made);
    assert_eq!(server.delete_workspace(&made.name).await.workspace.expect("told").organization, initech);
    let namesake = server.workspace("initech").await;
    assert_eq!(server.get_workspace(&namesake).await.organization, "", "none but the one that is named");

    create("other", "organizations/nobody").await.refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    create("other", "organizations/acme").await.refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    create("other", &initech).await.expect("the id is still free");
}

async fn a_taken_id_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    let admin = server.admin().workspace_admin();
    let (mut one, mut other) = (admin.clone(), admin.clone());
    let outcomes = tokio::join!(one.create_workspace(request("acme")), other.create_workspace(request("acme")));
    let (made, refused) = if outcomes.0.is_ok() { outcomes } else { (outcomes.1, outcomes.0) };
    let made = made.expect("one of two at once wins").into_inner().workspace.expect("it is told");
    refused.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    let renamed = CreateWorkspaceRequest { display_name: "Other".to_owned(), ..request("acme") };
    admin.clone().create_workspace(renamed).await.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    let name = tokend_client::v1::GetWorkspaceRequest { name: made.name.clone() };
    let got = admin.clone().get_workspace(name).await.expect("it is there").into_inner();
    assert_eq!(got.workspace, Some(made), "it is as it was made");
}

async fn a_field_that_does_not_fit_is_named(installation: Installation) {
    let server = installation.start().await;
    let create = async |request| server.admin().workspace_admin().create_workspace(request).await;
    for id in
        ["", "a", "Acme", "1acme", "-acme", "ac_me", "ac/me", "workspaces/acme", "ac me", "acmé", &"a".repeat(64), "..", "a\n"]
    {
        create(request(id)).await.refused_field("workspace_id");
    }
    for name in ["", " ", &"x".repeat(121), "a\u{0}b", "a\nb"] {
        create(CreateWorkspaceRequest { display_name: name.to_owned(), ..request("acme") }).await.refused_field("display_name");
    }
    for organization in ["acme", "organizations/", "organizations/Acme", "workspaces/acme"] {
        create(CreateWorkspaceRequest { organization: organization.to_owned(), ..request("acme") })
            .await
            .refused_field("organization");
    }
    let absent = CreateWorkspaceRequest { organization: "organizations/nobody".to_owned(), ..request("acme") };
    create(absent).await.refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    create(request("acme")).await.expect("the id is still free");
}
