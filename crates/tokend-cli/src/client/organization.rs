//! `tokend organization`: what workspaces may belong to.

use clap::Subcommand;
use tokend_client::{
    Client,
    v1::{
        CreateOrganizationRequest, CreateOrganizationResponse, GetOrganizationRequest, GetOrganizationResponse,
        ListOrganizationsRequest, ListOrganizationsResponse, Organization,
    },
};

use super::{
    connection::Connection,
    names,
    output::{Answer, Output, time},
    paging::Listing,
};
use crate::failure::Failure;
use crate::terminal::View;

/// What can be done with organizations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an organization. Its id is permanent
    Create(CreateArgs),
    /// Show an organization
    Get(GetArgs),
    /// List the organizations
    List(Listing),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its id: lower-case letters, digits and hyphens, a letter first
    id: String,
    /// What people call it; the id if absent
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// The organization: its name or its id
    #[arg(value_parser = names::organization)]
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(args).await,
        Command::Get(args) => get(args).await,
        Command::List(args) => list(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { id, display_name, output, connection } = args;
    let done = format!("organizations/{id} is created");
    let request = CreateOrganizationRequest { display_name: display_name.unwrap_or_else(|| id.clone()), organization_id: id };
    let answer = connection.open().await?.workspace_admin().create_organization(request).await?;
    output.print_done(answer.get_ref(), &done)
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name, output, connection } = args;
    let answer = connection.open().await?.workspace_admin().get_organization(GetOrganizationRequest { name }).await?;
    output.print(answer.get_ref())
}

async fn list(listing: Listing) -> Result<(), Failure> {
    let list = async |client: &Client, page_size, page_token| {
        client.workspace_admin().list_organizations(ListOrganizationsRequest { page_size, page_token }).await
    };
    listing.show(list).await
}

impl Answer for CreateOrganizationResponse {
    const MESSAGE: &'static str = "tokend.v1.CreateOrganizationResponse";

    fn view(&self) -> View {
        details(self.organization.as_ref())
    }
}

impl Answer for GetOrganizationResponse {
    const MESSAGE: &'static str = "tokend.v1.GetOrganizationResponse";

    fn view(&self) -> View {
        details(self.organization.as_ref())
    }
}

impl Answer for ListOrganizationsResponse {
    const MESSAGE: &'static str = "tokend.v1.ListOrganizationsResponse";

    fn view(&self) -> View {
        let row = |organization: &Organization| {
            vec![organization.name.clone(), organization.display_name.clone(), time(organization.create_time.as_ref(), "")]
        };
        View::List {
            header: &["NAME", "DISPLAY NAME", "CREATED"],
            rows: self.organizations.iter().map(row).collect(),
            none: "There are no organizations.",
        }
    }
}

fn details(organization: Option<&Organization>) -> View {
    let fields = |organization: &Organization| {
        vec![
            ("NAME", organization.name.clone()),
            ("DISPLAY NAME", organization.display_name.clone()),
            ("CREATED", time(organization.create_time.as_ref(), "")),
        ]
    };
    View::Details(organization.map(fields).unwrap_or_default())
}
