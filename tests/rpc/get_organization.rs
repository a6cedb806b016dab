//! `WorkspaceAdmin.GetOrganization` returns an organization.

use tokend_client::v1::{ErrorReason, GetOrganizationRequest, Role};
use tokend_tests::{Installation, Refused, on_both_databases};
use tonic::Code;

on_both_databases!(
    an_organization_is_returned,
    a_workspace_admin_sees_no_organization,
    an_absent_organization_is_not_found,
    an_invalid_name_is_refused
);

async fn an_organization_is_returned(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let request = GetOrganizationRequest { name: initech.clone() };
    let got = server
        .admin()
        .workspace_admin()
        .get_organization(request)
        .await
        .expect("GetOrganization succeeds")
        .into_inner();
    let got = got.organization.expect("`organization` is set");
    assert_eq!((got.name, got.display_name.as_str()), (initech, "INITECH"));
    assert!(got.create_time.is_some());
}

async fn a_workspace_admin_sees_no_organization(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let team = server.caller("team", Role::WorkspaceAdmin).await;
    let team = server.client(&team.secret).await;
    for name in [initech.as_str(), "organizations/nobody"] {
        let answer = team
            .workspace_admin()
            .get_organization(GetOrganizationRequest { name: name.to_owned() })
            .await;
        answer.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    }
}

async fn an_absent_organization_is_not_found(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let request = GetOrganizationRequest {
        name: "organizations/acme".to_owned(),
    };
    let answer = server.admin().workspace_admin().get_organization(request).await;
    answer.refused(Code::NotFound, ErrorReason::OrganizationNotFound);
}

async fn an_invalid_name_is_refused(installation: Installation) {
    let server = installation.start().await;
    for name in [
        "",
        "acme",
        "organizations/",
        "organizations/Acme",
        "organizations/acme/",
        "workspaces/acme",
        "organizations/-",
    ] {
        let request = GetOrganizationRequest { name: name.to_owned() };
        server
            .admin()
            .workspace_admin()
            .get_organization(request)
            .await
            .refused_field("name");
    }
}
