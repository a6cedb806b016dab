use serde_json::json;
use tokend_client::{
    Authenticated,
    v1::{
        GetTokenPolicyRequest, ListOrganizationsRequest, ListWorkspacesRequest, TokenPolicy,
        workspace_admin_client::WorkspaceAdminClient,
    },
};
use tonic::Code;

use super::view;
use crate::{
    client::{
        connection::Connection,
        names,
        output::{Output, json_value},
        paging::Paging,
    },
    failure::Failure,
    terminal::note,
};

/// Asks for each workspace and organization, one after the other.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Lists the policies that are set, as far as the caller may see them.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { output, connection } = args;
    let mut admin = connection.open().await?.workspace_admin();
    let mut policies = Vec::new();
    for owner in owners(&mut admin).await? {
        let name = names::policy(&owner).map_err(Failure::Other)?;
        let answer = admin.get_token_policy(GetTokenPolicyRequest { name }).await?.into_inner();
        policies.extend(answer.policy.filter(|policy: &TokenPolicy| policy.update_time.is_some()));
    }
    let json = policies.iter().map(json_value).collect::<Result<Vec<_>, _>>()?;
    output.print_value(&view::list(&policies), &json!({ "policies": json }))
}

async fn owners(admin: &mut WorkspaceAdminClient<Authenticated>) -> Result<Vec<String>, Failure> {
    let organizations = Paging::ALL
        .gather(async |page_size, page_token| admin.list_organizations(ListOrganizationsRequest { page_size, page_token }).await)
        .await;
    let organizations = match organizations {
        Ok(list) => list.organizations,
        Err(Failure::Call(failure)) if failure.code == Code::PermissionDenied => {
            note("This caller may not see organizations: only policies of workspaces are listed.");
            Vec::new()
        }
        Err(failure) => return Err(failure),
    };
    let workspaces = Paging::ALL
        .gather(async |page_size, page_token| admin.list_workspaces(ListWorkspacesRequest { page_size, page_token }).await)
        .await?
        .workspaces;
    let organizations = organizations.into_iter().map(|organization| organization.name);
    Ok(organizations.chain(workspaces.into_iter().map(|workspace| workspace.name)).collect())
}
