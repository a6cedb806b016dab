//! `tokend token`: commands about workspace access tokens.

mod bulk;
mod create;
mod expiry;
mod identify;
mod leaks;
mod list;
mod revoke;
mod rotate;
mod selection;
mod view;

use std::process::ExitCode;

use clap::Subcommand;
use tokend_client::{Client, v1::GetTokenRequest};
use tokend_core::time::Clock;

use super::{list::ListArgs, names::TokenName, single::GetArgs};
use crate::command_error::CommandError;

pub(super) use view::{NOT_USED, labels};

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a token and print its secret on stdout. The secret is never shown again
    Create(Box<create::Args>),
    /// Show a token
    Get(GetArgs<TokenName>),
    /// List the tokens of a workspace, newest first, including expired and revoked ones
    List(ListArgs<list::Tokens>),
    /// Replace a token with a new one that has the same grants, and print the new secret on stdout
    Rotate(Box<rotate::Args>),
    /// Permanently revoke one token, several tokens, or all tokens that match a filter
    Revoke(revoke::Args),
    /// Find leaked tokens in the text on stdin, and revoke them
    ReportLeaks(leaks::Args),
    /// Show which token the secret on stdin belongs to. Without a server, show what its spelling reveals
    Identify(identify::Args),
}

/// Runs a command and returns its exit code.
pub(super) async fn run(command: Command, clock: &Clock) -> Result<ExitCode, CommandError> {
    match command {
        Command::Create(args) => create::run(*args).await?,
        Command::Get(args) => {
            let get = async |client: Client, name| client.token_admin().get_token(GetTokenRequest { name }).await;
            args.show(get).await?;
        }
        Command::List(args) => list::run(args, clock).await?,
        Command::Rotate(args) => rotate::run(*args).await?,
        Command::Revoke(args) => revoke::run(args).await?,
        Command::ReportLeaks(args) => leaks::run(args).await?,
        Command::Identify(args) => return identify::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}
