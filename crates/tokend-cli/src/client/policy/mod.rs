//! `tokend policy`: what organizations and workspaces demand of their tokens.

mod list;
mod update;
mod view;

use clap::Subcommand;
use tokend_client::v1::GetTokenPolicyRequest;

use super::{connection::Connection, names, output::Output};
use crate::failure::Failure;

/// What can be done with token policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the policy of a workspace or an organization; of a workspace also what binds its tokens in the end
    Get(GetArgs),
    /// List the policies that are set, of organizations and then of workspaces
    List(list::Args),
    /// Change rules of a policy. Those that are not named stay as they are
    Update(Box<update::Args>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// Whose: workspaces/WORKSPACE or its id alone, or organizations/ORGANIZATION
    #[arg(value_parser = names::policy)]
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Get(args) => get(args).await,
        Command::List(args) => list::run(args).await,
        Command::Update(args) => update::run(*args).await,
    }
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name, output, connection } = args;
    let answer = connection.open().await?.workspace_admin().get_token_policy(GetTokenPolicyRequest { name }).await?;
    output.print(answer.get_ref())
}
