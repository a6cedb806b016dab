//! `tokend policy`: commands about the token policies of organizations and workspaces.

mod update;
mod view;

use clap::Subcommand;
use serde_json::json;
use tokend_client::{
    Authenticated, Client,
    v1::{
        GetTokenPolicyRequest, ListOrganizationsRequest, ListWorkspacesRequest, TokenPolicy,
        workspace_admin_client::WorkspaceAdminClient,
    },
};
use tonic::Code;

use super::{
    connection::Connection,
    list::Paging,
    names::{self, PolicyName},
    output::{Output, json_value},
    single::GetArgs,
};
use crate::{command_error::CommandError, terminal::note};

/// Commands about token policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the policy of a workspace or an organization. For a workspace, also show the effective rules, which include
    /// those of its organization
    Get(GetArgs<PolicyName>),
    /// List the policies that are set: first those of organizations, then those of workspaces
    List(ListArgs),
    /// Change rules of a policy. Rules that are not named stay as they are
    Update(Box<update::Args>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Runs a command.
pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Get(args) => {
            let get = async |client: Client, name| {
                let request = GetTokenPolicyRequest { name };
                client.workspace_admin().get_token_policy(request).await
            };
            args.show(get).await
        }
        Command::List(args) => list(args).await,
        Command::Update(args) => update::run(*args).await,
    }
}

/// Lists the policies that are set. There is no RPC for that: the policy of each owner is read, one after the other.
async fn list(args: ListArgs) -> Result<(), CommandError> {
    let ListArgs { output, connection } = args;
    let mut admin = connection.open().await?.workspace_admin();
    let mut policies = Vec::new();
    for owner in owners(&mut admin).await? {
        let name = names::policy(&owner).map_err(CommandError::Other)?;
        let answer = admin
            .get_token_policy(GetTokenPolicyRequest { name })
            .await?
            .into_inner();
        let is_set = |policy: &TokenPolicy| policy.update_time.is_some();
        policies.extend(answer.policy.filter(is_set));
    }
    let json = policies.iter().map(json_value).collect::<Result<Vec<_>, _>>()?;
    output.print_value(&view::list(&policies), &json!({ "policies": json }))
}

/// Returns the names of the organizations and workspaces that the caller may see.
async fn owners(admin: &mut WorkspaceAdminClient<Authenticated>) -> Result<Vec<String>, CommandError> {
    let organizations = Paging::ALL
        .fetch(async |page_size, page_token| {
            let request = ListOrganizationsRequest { page_size, page_token };
            admin.list_organizations(request).await
        })
        .await;
    let organizations = match organizations {
        Ok(list) => list.organizations,
        Err(CommandError::Call(error)) if error.code == Code::PermissionDenied => {
            note("This caller may not see organizations. Only the policies of workspaces are listed.");
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let workspaces = Paging::ALL
        .fetch(async |page_size, page_token| {
            let request = ListWorkspacesRequest { page_size, page_token };
            admin.list_workspaces(request).await
        })
        .await?
        .workspaces;
    let organizations = organizations.into_iter().map(|organization| organization.name);
    Ok(organizations
        .chain(workspaces.into_iter().map(|workspace| workspace.name))
        .collect())
}
