//! `tokend workspace`: workspaces, to which tokens belong.

mod view;

use clap::Subcommand;
use tokend_client::{
    Client,
    v1::{
        CreateWorkspaceRequest, DeleteWorkspaceRequest, GetWorkspaceRequest, ListWorkspacesRequest, ResumeWorkspaceRequest,
        SuspendWorkspaceRequest,
    },
};

use super::{connection::Connection, names, output::Output, paging::Listing};
use crate::failure::Failure;

/// What can be done with workspaces.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a workspace. Its id is permanent and never used again
    Create(CreateArgs),
    /// Show a workspace
    Get(GetArgs),
    /// List the workspaces that the caller may see
    List(Listing),
    /// Have a workspace's tokens denied until it is resumed
    Suspend(EndArgs),
    /// Have a suspended workspace's tokens work again
    Resume(ResumeArgs),
    /// Delete a workspace and end every token of it, for good
    Delete(EndArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its id: lower-case letters, digits and hyphens, a letter first
    id: String,
    /// What people call it; the id if absent
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The organization that it belongs to, for good
    #[arg(long, value_parser = names::organization)]
    organization: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// The workspace: its name or its id
    #[arg(value_parser = names::workspace)]
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EndArgs {
    /// The workspace: its name or its id
    #[arg(value_parser = names::workspace)]
    name: String,
    /// Don't wait until every replica knows
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// The workspace: its name or its id
    #[arg(value_parser = names::workspace)]
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
        Command::Suspend(args) => suspend(args).await,
        Command::Resume(args) => resume(args).await,
        Command::Delete(args) => delete(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { id, display_name, organization, output, connection } = args;
    let done = format!("workspaces/{id} is created");
    let request = CreateWorkspaceRequest {
        display_name: display_name.unwrap_or_else(|| id.clone()),
        workspace_id: id,
        organization: organization.unwrap_or_default(),
    };
    let answer = connection.open().await?.workspace_admin().create_workspace(request).await?;
    output.print_done(answer.get_ref(), &done)
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name, output, connection } = args;
    let answer = connection.open().await?.workspace_admin().get_workspace(GetWorkspaceRequest { name }).await?;
    output.print(answer.get_ref())
}

async fn list(listing: Listing) -> Result<(), Failure> {
    let list = async |client: &Client, page_size, page_token| {
        client.workspace_admin().list_workspaces(ListWorkspacesRequest { page_size, page_token }).await
    };
    listing.show(list).await
}

async fn suspend(args: EndArgs) -> Result<(), Failure> {
    let EndArgs { name, no_wait, output, connection } = args;
    let done = format!("{name} is suspended");
    let request = SuspendWorkspaceRequest { name, no_wait };
    let answer = connection.open().await?.workspace_admin().suspend_workspace(request).await?;
    output.print_done(answer.get_ref(), &done)
}

async fn resume(args: ResumeArgs) -> Result<(), Failure> {
    let ResumeArgs { name, output, connection } = args;
    let done = format!("{name} is resumed");
    let answer = connection.open().await?.workspace_admin().resume_workspace(ResumeWorkspaceRequest { name }).await?;
    output.print_done(answer.get_ref(), &done)
}

async fn delete(args: EndArgs) -> Result<(), Failure> {
    let EndArgs { name, no_wait, output, connection } = args;
    let done = format!("{name} is deleted");
    let request = DeleteWorkspaceRequest { name, no_wait };
    let answer = connection.open().await?.workspace_admin().delete_workspace(request).await?;
    output.print_done(answer.get_ref(), &done)
}
