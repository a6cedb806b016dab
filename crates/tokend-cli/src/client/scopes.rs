//! `tokend scopes`: commands about the scope catalogue.

use clap::Subcommand;
use tokend_client::v1::{ListScopesRequest, list_scopes_response::Scope};

use super::{
    connection::Connection,
    output::{Output, answers},
};
use crate::{
    command_error::CommandError,
    terminal::{Field, View},
};

/// Commands about scopes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the scopes that can be granted, and the scopes that each implies
    List(ListArgs),
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
    let Command::List(ListArgs { output, connection }) = command;
    let answer = connection
        .open()
        .await?
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await?;
    output.print(answer.get_ref())
}

const COLUMNS: &[Field<Scope>] = &[
    ("NAME", |scope| scope.name.clone()),
    ("IMPLIES", |scope| scope.implies.join(" ")),
    ("DESCRIPTION", |scope| scope.description.clone()),
];

answers! {
    ListScopesResponse(answer) => View::list(&answer.scopes, COLUMNS, "The catalogue has no scopes."),
}
