//! `tokend token`: workspace access tokens.

mod bulk;
mod chosen;
mod create;
mod expiry;
mod identify;
mod leaks;
mod list;
mod revoke;
mod rotate;
mod view;

use std::process::ExitCode;

use clap::Subcommand;
use tokend_client::v1::GetTokenRequest;
use tokend_core::clock::Clock;

use super::{connection::Connection, names::TokenName, output::Output};
use crate::failure::Failure;

pub(super) use view::{NOT_USED, labels};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token; its secret alone is printed on stdout, this once
    Create(Box<create::Args>),
    /// Show a token
    Get(GetArgs),
    /// List a workspace's tokens, newest first, ended ones included
    List(list::Args),
    /// Replace a token by one with the same grants; the new secret alone is printed on stdout, this once
    Rotate(Box<rotate::Args>),
    /// End a token, several, or all that a filter is true of, for good
    Revoke(revoke::Args),
    /// End the tokens among the strings on stdin, one a line, that were found where they do not belong
    ReportLeaks(leaks::Args),
    /// Tell what token the secret on stdin is; without a server, what can be told offline
    Identify(identify::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    name: TokenName,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command and tells its exit code.
pub(super) async fn run(command: Command, clock: &Clock) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(args) => create::run(*args).await?,
        Command::Get(args) => get(args).await?,
        Command::List(args) => list::run(args, clock).await?,
        Command::Rotate(args) => rotate::run(*args).await?,
        Command::Revoke(args) => revoke::run(args).await?,
        Command::ReportLeaks(args) => leaks::run(args).await?,
        Command::Identify(args) => return identify::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name: TokenName(name), output, connection } = args;
    let answer = connection.open().await?.token_admin().get_token(GetTokenRequest { name }).await?;
    output.print(answer.get_ref())
}
