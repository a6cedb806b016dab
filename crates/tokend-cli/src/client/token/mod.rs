//! `tokend token`: workspace access tokens.

mod create;
mod expiry;
mod identify;
mod rotate;
mod view;

use std::process::ExitCode;

use clap::Subcommand;
use tokend_client::v1::{GetTokenRequest, ListTokensRequest, RevokeTokenRequest};

use super::{
    connection::Connection,
    names::{self, TokenName},
    output::Output,
    paging::Paging,
};
use crate::failure::Failure;

pub(super) use view::labels;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token; its secret alone is printed on stdout, this once
    Create(Box<create::Args>),
    /// Show a token
    Get(GetArgs),
    /// List a workspace's tokens, newest first, ended ones included
    List(ListArgs),
    /// Replace a token by one with the same grants; the new secret alone is printed on stdout, this once
    Rotate(Box<rotate::Args>),
    /// End a token, for good
    Revoke(RevokeArgs),
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

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The workspace whose tokens to list
    #[arg(long, value_parser = names::workspace)]
    workspace: String,
    /// List only tokens of which this is true, such as 'state = ACTIVE AND expire_time = never'
    ///
    /// Fields: state, scopes, labels.KEY, creator, create_time, expire_time, resource. Operators: = != < <= > >= and : (has; of a
    /// resource: at or below). AND and OR join comparisons, OR tighter than AND; parentheses group them.
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    name: TokenName,
    /// Why, for whoever looks at the token later
    #[arg(long)]
    reason: Option<String>,
    /// Don't wait until the token is dead in every replica and cache
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command and tells its exit code.
pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(args) => create::run(*args).await?,
        Command::Get(args) => get(args).await?,
        Command::List(args) => list(args).await?,
        Command::Rotate(args) => rotate::run(*args).await?,
        Command::Revoke(args) => revoke(args).await?,
        Command::Identify(args) => return identify::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name: TokenName(name), output, connection } = args;
    let answer = connection.open().await?.token_admin().get_token(GetTokenRequest { name }).await?;
    output.print(answer.get_ref())
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let ListArgs { workspace: parent, filter, paging, output, connection } = args;
    let filter = filter.unwrap_or_default();
    let mut tokens = connection.open().await?.token_admin();
    let list = paging
        .gather(async |page_size, page_token| {
            let (parent, filter) = (parent.clone(), filter.clone());
            tokens.list_tokens(ListTokensRequest { parent, filter, page_size, page_token }).await
        })
        .await?;
    output.print_list(&list)
}

async fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    let RevokeArgs { name: TokenName(name), reason, no_wait, output, connection } = args;
    let request = RevokeTokenRequest { name, reason: reason.unwrap_or_default(), no_wait };
    let answer = connection.open().await?.token_admin().revoke_token(request).await?;
    output.print(answer.get_ref())
}
