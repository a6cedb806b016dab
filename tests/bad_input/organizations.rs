//! `WorkspaceAdmin`: `CreateOrganization` and `GetOrganization`.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    CreateOrganizationRequest, CreateOrganizationResponse, ErrorReason, GetOrganizationRequest,
    GetOrganizationResponse, Organization,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Rows, refused},
    names::chosen_names,
    run::{World, run, same},
    values::Values,
    workspaces::{chosen_ids, display_names},
};

on_both_databases!(organizations);

const CREATE: &str = "WorkspaceAdmin/CreateOrganization";
const GET: &str = "WorkspaceAdmin/GetOrganization";

async fn organizations(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut create = Rows::of(CREATE, Values::new_organization("fresh"))
        .each_fresh(|request, row| request.organization_id = format!("fresh-{row}"));
    let mut id = create.field("organization_id", |request, value: String| {
        request.organization_id = value
    });
    chosen_ids(&mut id, values);
    id.row(
        Aspect::Duplicate,
        "one that is taken",
        "initech".to_owned(),
        refused(Code::AlreadyExists, ErrorReason::OrganizationAlreadyExists),
    );
    id.last_counts("Nobody", "the-last-one");
    display_names(
        &mut create.field("display_name", |request, value: String| request.display_name = value),
        values,
    );

    let mut get = Rows::of(
        GET,
        GetOrganizationRequest {
            name: values.organization.clone(),
        },
    );
    let mut name = get.field("name", |request, value: String| request.name = value);
    let not_found = || refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    chosen_names(&mut name, values, "organizations", &values.organization, &not_found);
    [create.finish(), get.finish()].concat()
}

async fn read_back(world: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    if *rpc == GET {
        let returned = GetOrganizationResponse::decode(answer)
            .expect("the response decodes")
            .organization
            .ok_or("the response has no organization")?;
        return same(
            "the name",
            returned.name,
            GetOrganizationRequest::decode(request.clone())
                .expect("the request decodes")
                .name,
        );
    }
    let asked = CreateOrganizationRequest::decode(request.clone()).expect("the request decodes");
    let returned = CreateOrganizationResponse::decode(answer)
        .expect("the response decodes")
        .organization
        .ok_or("the response has no organization")?;
    let wanted = Organization {
        name: format!("organizations/{}", asked.organization_id),
        display_name: asked.display_name,
        create_time: returned.create_time,
    };
    same("the created organization", &returned, &wanted)?;
    same("whether it has a create_time", returned.create_time.is_some(), true)?;
    let request = GetOrganizationRequest {
        name: wanted.name.clone(),
    };
    let got = world.server.admin().workspace_admin().get_organization(request).await;
    same(
        "the organization from GetOrganization",
        got.map_err(|status| status.to_string())?.into_inner().organization,
        Some(wanted),
    )
}
