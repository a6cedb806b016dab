//! `tokend scopes`: what tokens can be granted.

use clap::Subcommand;
use tokend_client::v1::{ListScopesRequest, ListScopesResponse};

use super::{
    connection::Connection,
    output::{Answer, Output},
};
use crate::failure::Failure;
use crate::terminal::View;

/// What can be done with scopes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the scopes, and what each implies
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let Command::List(ListArgs { output, connection }) = command;
    let answer = connection.open().await?.token_admin().list_scopes(ListScopesRequest {}).await?;
    output.print(answer.get_ref())
}

impl Answer for ListScopesResponse {
    const MESSAGE: &'static str = "tokend.v1.ListScopesResponse";

    fn view(&self) -> View {
        View::List {
            header: &["NAME", "IMPLIES", "DESCRIPTION"],
            rows: self
                .scopes
                .iter()
                .map(|scope| vec![scope.name.clone(), scope.implies.join(" "), scope.description.clone()])
                .collect(),
            none: "The catalogue has no scopes.",
        }
    }
}
