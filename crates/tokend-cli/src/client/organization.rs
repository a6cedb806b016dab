//! `tokend organization`: commands about organizations, which group workspaces.

use clap::Subcommand;
use tokend_client::{
    Client,
    v1::{CreateOrganizationRequest, GetOrganizationRequest, ListOrganizationsRequest, Organization},
};

use super::{
    connection::Connection,
    list::ListArgs,
    names::OrganizationName,
    output::{Output, answers, time},
    single::GetArgs,
};
use crate::{
    command_error::CommandError,
    terminal::{Field, View},
};

/// Commands about organizations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an organization. Its id is permanent
    Create(CreateArgs),
    /// Show an organization
    Get(GetArgs<OrganizationName>),
    /// List the organizations
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The organization's id: lower-case letters, digits and hyphens, starting with a letter
    id: String,
    /// A name for people [default: the id]
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Runs a command.
pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Create(args) => create(args).await,
        Command::Get(args) => {
            let get = async |client: Client, name| {
                let request = GetOrganizationRequest { name };
                client.workspace_admin().get_organization(request).await
            };
            args.show(get).await
        }
        Command::List(args) => {
            let list = async |client: &Client, _: &_, page_size, page_token| {
                let request = ListOrganizationsRequest { page_size, page_token };
                client.workspace_admin().list_organizations(request).await
            };
            args.run(list).await
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs {
        id,
        display_name,
        output,
        connection,
    } = args;
    let done = format!("organizations/{id} is created");
    let request = CreateOrganizationRequest {
        display_name: display_name.unwrap_or_else(|| id.clone()),
        organization_id: id,
    };
    let client = connection.open().await?;
    let answer = client.workspace_admin().create_organization(request).await?;
    output.print_done(answer.get_ref(), &done)
}

const FIELDS: &[Field<Organization>] = &[
    ("NAME", |organization| organization.name.clone()),
    ("DISPLAY NAME", |organization| organization.display_name.clone()),
    ("CREATED", |organization| time(organization.create_time.as_ref(), "")),
];

answers! {
    ListOrganizationsResponse(answer) => View::list(&answer.organizations, FIELDS, "There are no organizations."),
    CreateOrganizationResponse(answer) => View::details(answer.organization.as_ref(), FIELDS),
    GetOrganizationResponse(answer) => View::details(answer.organization.as_ref(), FIELDS),
}
