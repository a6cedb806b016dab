//! `WorkspaceAdmin.CreateOrganization`: ids are permanent.

use tokend_client::v1::{CreateOrganizationRequest, ErrorReason, GetOrganizationRequest};
use tokend_tests::{Installation, Records, Refused, on_both_databases};
use tonic::Code;

on_both_databases!(
    an_organization_is_what_was_asked_for,
    a_taken_id_is_told_as_such,
    an_organization_is_no_workspace,
    it_is_on_the_installations_record,
    a_field_that_does_not_fit_is_named,
);

fn request(id: &str) -> CreateOrganizationRequest {
    CreateOrganizationRequest { organization_id: id.to_owned(), display_name: "Initech".to_owned() }
}

async fn an_organization_is_what_was_asked_for(installation: Installation) {
    let server = installation.start().await;
    for id in ["in", "initech-2", &"a".repeat(63)] {
        let request = CreateOrganizationRequest { display_name: "é".repeat(120), ..request(id) };
        let made = server.admin().workspace_admin().create_organization(request).await.expect("it is made").into_inner();
        let made = made.organization.expect("it is told");
        assert_eq!(
            (made.name.as_str(), made.display_name.as_str()),
            (format!("organizations/{id}").as_str(), "é".repeat(120).as_str())
        );
        assert!(made.create_time.is_some());
    }
}

async fn a_taken_id_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    let admin = server.admin().workspace_admin();
    let (mut one, mut other) = (admin.clone(), admin.clone());
    let outcomes = tokio::join!(one.create_organization(request("initech")), other.create_organization(request("initech")));
    let (made, refused) = if outcomes.0.is_ok() { outcomes } else { (outcomes.1, outcomes.0) };
    let made = made.expect("one of two at once wins").into_inner().organization.expect("it is told");
    refused.refused(Code::AlreadyExists, ErrorReason::OrganizationAlreadyExists);
    let renamed = CreateOrganizationRequest { display_name: "Other".to_owned(), ..request("initech") };
    admin.clone().create_organization(renamed).await.refused(Code::AlreadyExists, ErrorReason::OrganizationAlreadyExists);
    let got = admin.clone().get_organization(GetOrganizationRequest { name: made.name.clone() }).await.expect("it is there");
    assert_eq!(got.into_inner().organization, Some(made), "it is as it was made");
}

async fn an_organization_is_no_workspace(installation: Installation) {
    let server = installation.start().await;
    // One id may be both.
    assert_eq!(server.organization("acme").await, "organizations/acme");
    assert_eq!(server.workspace("acme").await, "workspaces/acme");
}

async fn it_is_on_the_installations_record(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    server.organization("initech").await;
    let told = records.of("-").await.pop().expect("a record");
    assert_eq!((told.kind.as_str(), told.resource.as_str()), ("organization.created", "organizations/initech"));
    assert_eq!((told.caller.as_str(), told.outcome.as_str()), ("callers/admin", "DONE"));
    assert!(!told.row_digest.is_empty(), "it tells of the row");
    server.admin().workspace_admin().create_organization(request("initech")).await.expect_err("it is taken");
    let told = records.of("-").await.pop().expect("a record");
    assert_eq!((told.kind.as_str(), told.resource.as_str()), ("call.refused", "organizations/initech"));
}

async fn a_field_that_does_not_fit_is_named(installation: Installation) {
    let server = installation.start().await;
    let create = async |request| server.admin().workspace_admin().create_organization(request).await;
    for id in ["", "a", "Acme", "1acme", "-acme", "ac_me", "ac/me", "organizations/acme", "ac me", "acmé", &"a".repeat(64), ".."] {
        create(request(id)).await.refused_field("organization_id");
    }
    for name in ["", " ", &"x".repeat(121), "a\u{0}b", "a\nb"] {
        create(CreateOrganizationRequest { display_name: name.to_owned(), ..request("acme") }).await.refused_field("display_name");
    }
    create(request("acme")).await.expect("the id is still free");
}
