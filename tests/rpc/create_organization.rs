//! `WorkspaceAdmin.CreateOrganization` creates an organization with a permanent id.

use tokend_client::v1::{CreateOrganizationRequest, ErrorReason, GetOrganizationRequest};
use tokend_tests::{Installation, Records, Refused, on_both_databases};
use tonic::Code;

on_both_databases!(
    an_organization_is_created_as_requested,
    a_taken_id_is_refused,
    an_organization_and_a_workspace_can_share_an_id,
    it_is_recorded_in_the_installations_chain,
    an_invalid_field_is_named,
);

fn request(id: &str) -> CreateOrganizationRequest {
    CreateOrganizationRequest {
        organization_id: id.to_owned(),
        display_name: "Initech".to_owned(),
    }
}

async fn an_organization_is_created_as_requested(installation: Installation) {
    let server = installation.start().await;
    for id in ["in", "initech-2", &"a".repeat(63)] {
        let request = CreateOrganizationRequest {
            display_name: "é".repeat(120),
            ..request(id)
        };
        let created = server
            .admin()
            .workspace_admin()
            .create_organization(request)
            .await
            .expect("CreateOrganization succeeds")
            .into_inner();
        let created = created.organization.expect("`organization` is set");
        assert_eq!(
            (created.name.as_str(), created.display_name.as_str()),
            (format!("organizations/{id}").as_str(), "é".repeat(120).as_str())
        );
        assert!(created.create_time.is_some());
    }
}

async fn a_taken_id_is_refused(installation: Installation) {
    let server = installation.start().await;
    let admin = server.admin().workspace_admin();
    let (mut one, mut other) = (admin.clone(), admin.clone());
    let outcomes = tokio::join!(
        one.create_organization(request("initech")),
        other.create_organization(request("initech"))
    );
    let (created, refused) = if outcomes.0.is_ok() {
        outcomes
    } else {
        (outcomes.1, outcomes.0)
    };
    let created = created
        .expect("one of two concurrent calls succeeds")
        .into_inner()
        .organization
        .expect("`organization` is set");
    refused.refused(Code::AlreadyExists, ErrorReason::OrganizationAlreadyExists);
    let renamed = CreateOrganizationRequest {
        display_name: "Other".to_owned(),
        ..request("initech")
    };
    admin
        .clone()
        .create_organization(renamed)
        .await
        .refused(Code::AlreadyExists, ErrorReason::OrganizationAlreadyExists);
    let got = admin
        .clone()
        .get_organization(GetOrganizationRequest {
            name: created.name.clone(),
        })
        .await
        .expect("GetOrganization succeeds");
    assert_eq!(
        got.into_inner().organization,
        Some(created),
        "the organization is unchanged"
    );
}

async fn an_organization_and_a_workspace_can_share_an_id(installation: Installation) {
    let server = installation.start().await;
    // The two namespaces are separate.
    assert_eq!(server.organization("acme").await, "organizations/acme");
    assert_eq!(server.workspace("acme").await, "workspaces/acme");
}

async fn it_is_recorded_in_the_installations_chain(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    server.organization("initech").await;
    let record = records.of("-").await.pop().expect("the chain has a record");
    assert_eq!(
        (record.kind.as_str(), record.resource.as_str()),
        ("organization.created", "organizations/initech")
    );
    assert_eq!(
        (record.caller.as_str(), record.outcome.as_str()),
        ("callers/admin", "DONE")
    );
    assert!(!record.row_digest.is_empty(), "the record has the digest of the row");
    server
        .admin()
        .workspace_admin()
        .create_organization(request("initech"))
        .await
        .expect_err("the id is taken");
    let record = records.of("-").await.pop().expect("the chain has a record");
    assert_eq!(
        (record.kind.as_str(), record.resource.as_str()),
        ("call.refused", "organizations/initech")
    );
}

async fn an_invalid_field_is_named(installation: Installation) {
    let server = installation.start().await;
    let create = async |request| server.admin().workspace_admin().create_organization(request).await;
    for id in [
        "",
        "a",
        "Acme",
        "1acme",
        "-acme",
        "ac_me",
        "ac/me",
        "organizations/acme",
        "ac me",
        "acmé",
        &"a".repeat(64),
        "..",
    ] {
        create(request(id)).await.refused_field("organization_id");
    }
    for name in ["", " ", &"x".repeat(121), "a\u{0}b", "a\nb"] {
        create(CreateOrganizationRequest {
            display_name: name.to_owned(),
            ..request("acme")
        })
        .await
        .refused_field("display_name");
    }
    create(request("acme")).await.expect("the id is still free");
}
