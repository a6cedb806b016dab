//! `tokend caller`: the backends that may call the service.

mod key;
mod view;

use clap::{Subcommand, ValueEnum};
use tokend_client::{
    Client,
    v1::{self, CreateCallerRequest, DeleteCallerRequest, GetCallerRequest, ListCallersRequest, Selection},
};

use super::{connection::Connection, names, output::Output, paging::Listing};
use crate::failure::Failure;

/// What can be done with callers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a caller. It can't call before it has a key
    Create(CreateArgs),
    /// Show a caller
    Get(GetArgs),
    /// List the callers
    List(Listing),
    /// Delete a caller and its keys. The tokens that it made live on
    Delete(DeleteArgs),
    /// Make, show and revoke the keys by which callers authenticate
    #[command(subcommand)]
    Key(key::Command),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its id: lower-case letters, digits and hyphens, a letter first
    id: String,
    /// What it may do
    #[arg(long)]
    role: Role,
    #[command(flatten)]
    place: Place,
    /// The exact URI or DNS name in a client certificate that stands for it; can be given several times
    #[arg(long, value_name = "SAN")]
    certificate_san: Vec<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Everything
    Admin,
    /// Everything within its workspaces, but for callers and organizations
    WorkspaceAdmin,
    /// See and revoke tokens of any workspace
    Revoker,
    /// Read
    Auditor,
    /// Ask for verdicts
    Verifier,
}

/// Where a caller may act.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// It may act in every workspace, those to come included
    #[arg(long)]
    all_workspaces: bool,
    /// A workspace that it may act in; can be given several times
    #[arg(long, value_parser = names::workspace)]
    workspace: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// The caller: its name or its id
    #[arg(value_parser = names::caller)]
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// The caller: its name or its id
    #[arg(value_parser = names::caller)]
    name: String,
    /// Don't wait until every replica knows
    #[arg(long)]
    no_wait: bool,
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
        Command::Delete(args) => delete(args).await,
        Command::Key(command) => key::run(command).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { id, role, place, certificate_san, output, connection } = args;
    let Place { all_workspaces, workspace } = place;
    let done = format!("callers/{id} is created");
    let request = CreateCallerRequest {
        caller_id: id,
        role: v1::Role::from(role).into(),
        workspaces: Some(Selection { all: all_workspaces, only: workspace }),
        certificate_sans: certificate_san,
    };
    let answer = connection.open().await?.caller_admin().create_caller(request).await?;
    output.print_done(answer.get_ref(), &done)
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name, output, connection } = args;
    let answer = connection.open().await?.caller_admin().get_caller(GetCallerRequest { name }).await?;
    output.print(answer.get_ref())
}

async fn list(listing: Listing) -> Result<(), Failure> {
    let list = async |client: &Client, page_size, page_token| {
        client.caller_admin().list_callers(ListCallersRequest { page_size, page_token }).await
    };
    listing.show(list).await
}

async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let DeleteArgs { name, no_wait, output, connection } = args;
    let done = format!("{name} is deleted");
    let answer = connection.open().await?.caller_admin().delete_caller(DeleteCallerRequest { name, no_wait }).await?;
    output.print_done(answer.get_ref(), &done)
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::WorkspaceAdmin => Self::WorkspaceAdmin,
            Role::Revoker => Self::Revoker,
            Role::Auditor => Self::Auditor,
            Role::Verifier => Self::Verifier,
        }
    }
}
