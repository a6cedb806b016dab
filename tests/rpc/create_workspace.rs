//! `WorkspaceAdmin.CreateWorkspace` creates a workspace. Its id is permanent and never reused.

use tokend_client::v1::{CreateWorkspaceRequest, ErrorReason, workspace::State};
use tokend_tests::{Installation, Refused, on_both_databases};
use tonic::Code;

on_both_databases!(
    a_workspace_is_created_as_requested,
    it_may_belong_to_an_organization,
    a_taken_id_is_refused,
    an_invalid_field_is_named
);

fn request(id: &str) -> CreateWorkspaceRequest {
    CreateWorkspaceRequest {
        workspace_id: id.to_owned(),
        display_name: "Acme".to_owned(),
        organization: String::new(),
    }
}

async fn a_workspace_is_created_as_requested(installation: Installation) {
    let server = installation.start().await;
    for id in ["ac", "acme-2", &"a".repeat(63)] {
        let request = CreateWorkspaceRequest {
            display_name: "é".repeat(120),
            ..request(id)
        };
        let created = server
            .admin()
            .workspace_admin()
            .create_workspace(request)
            .await
            .expect("CreateWorkspace succeeds")
            .into_inner();
        let created = created.workspace.expect("`workspace` is set");
        assert_eq!(created.name, format!("workspaces/{id}"));
        assert_eq!(created.display_name, "é".repeat(120));
        assert_eq!(
            (
                created.organization.as_str(),
                created.state(),
                created.active_token_count
            ),
            ("", State::Active, 0)
        );
        assert!(created.create_time.is_some());
    }
}

async fn it_may_belong_to_an_organization(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let create = async |id: &str, organization: &str| {
        let request = CreateWorkspaceRequest {
            organization: organization.to_owned(),
            ..request(id)
        };
        server.admin().workspace_admin().create_workspace(request).await
    };
    let created = create("acme", &initech)
        .await
        .expect("CreateWorkspace succeeds")
        .into_inner()
        .workspace
        .expect("`workspace` is set");
    assert_eq!(created.organization, initech);
    assert_eq!(server.get_workspace(&created.name).await, created);
    // Suspending, resuming or deleting the workspace does not change its organization.
    assert_eq!(
        server
            .suspend(&created.name)
            .await
            .workspace
            .expect("`workspace` is set")
            .organization,
        initech
    );
    assert_eq!(
        server
            .resume(&created.name)
            .await
            .workspace
            .expect("`workspace` is set"),
        created
    );
    assert_eq!(
        server
            .delete_workspace(&created.name)
            .await
            .workspace
            .expect("`workspace` is set")
            .organization,
        initech
    );
    let namesake = server.workspace("initech").await;
    assert_eq!(
        server.get_workspace(&namesake).await.organization,
        "",
        "only the named organization is used"
    );

    create("other", "organizations/nobody")
        .await
        .refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    create("other", "organizations/acme")
        .await
        .refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    create("other", &initech).await.expect("the id is still free");
}

async fn a_taken_id_is_refused(installation: Installation) {
    let server = installation.start().await;
    let admin = server.admin().workspace_admin();
    let (mut one, mut other) = (admin.clone(), admin.clone());
    let outcomes = tokio::join!(
        one.create_workspace(request("acme")),
        other.create_workspace(request("acme"))
    );
    let (created, refused) = if outcomes.0.is_ok() {
        outcomes
    } else {
        (outcomes.1, outcomes.0)
    };
    let created = created
        .expect("one of two concurrent calls succeeds")
        .into_inner()
        .workspace
        .expect("`workspace` is set");
    refused.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    let renamed = CreateWorkspaceRequest {
        display_name: "Other".to_owned(),
        ..request("acme")
    };
    admin
        .clone()
        .create_workspace(renamed)
        .await
        .refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    let name = tokend_client::v1::GetWorkspaceRequest {
        name: created.name.clone(),
    };
    let got = admin
        .clone()
        .get_workspace(name)
        .await
        .expect("GetWorkspace succeeds")
        .into_inner();
    assert_eq!(got.workspace, Some(created), "the workspace is unchanged");
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    let create = async |request| server.admin().workspace_admin().create_workspace(request).await;
    for id in [
        "",
        "a",
        "Acme",
        "1acme",
        "-acme",
        "ac_me",
        "ac/me",
        "workspaces/acme",
        "ac me",
        "acmé",
        &"a".repeat(64),
        "..",
        "a\n",
    ] {
        create(request(id)).await.refused_field("workspace_id");
    }
    for name in ["", " ", &"x".repeat(121), "a\u{0}b", "a\nb"] {
        create(CreateWorkspaceRequest {
            display_name: name.to_owned(),
            ..request("acme")
        })
        .await
        .refused_field("display_name");
    }
    for organization in ["acme", "organizations/", "organizations/Acme", "workspaces/acme"] {
        create(CreateWorkspaceRequest {
            organization: organization.to_owned(),
            ..request("acme")
        })
        .await
        .refused_field("organization");
    }
    let absent = CreateWorkspaceRequest {
        organization: "organizations/nobody".to_owned(),
        ..request("acme")
    };
    create(absent)
        .await
        .refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    create(request("acme")).await.expect("the id is still free");
}
