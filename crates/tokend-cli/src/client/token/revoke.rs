//! `tokend token revoke`.

use tokend_client::v1::{BatchRevokeTokensRequest, RevokeTokenRequest};

use super::{bulk, selection::Selection};
use crate::{
    client::{connection::Connection, output::Output, single::NoWait},
    command_error::CommandError,
};

/// The most names that the contract allows in a call.
const MAX_NAMES: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Why the tokens are revoked. It is stored with them and in the audit log
    #[arg(long)]
    reason: Option<String>,
    /// Show which tokens would be revoked, without revoking them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    no_wait: NoWait,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let Args {
        selection,
        reason,
        dry_run,
        no_wait: NoWait { no_wait },
        output,
        connection,
    } = args;
    let reason = reason.unwrap_or_default();
    let mut tokens = connection.open().await?.token_admin();
    if let Some(name) = selection.single().filter(|_| !dry_run) {
        let answer = tokens
            .revoke_token(RevokeTokenRequest {
                name: name.to_owned(),
                reason,
                no_wait,
            })
            .await?;
        return output.print_done(answer.get_ref(), &format!("{name} is revoked"));
    }
    let requests: Vec<_> = requests(selection)
        .map(|request| BatchRevokeTokensRequest {
            reason: reason.clone(),
            validate_only: dry_run,
            no_wait,
            ..request
        })
        .collect();
    let total = bulk::revoke(requests, async |request| tokens.batch_revoke_tokens(request).await).await?;
    bulk::note_outcome(&total, dry_run);
    if dry_run {
        output.print(&total)
    } else {
        output.print_done(&total, "the tokens are revoked")
    }
}

fn requests(selection: Selection) -> Box<dyn Iterator<Item = BatchRevokeTokensRequest>> {
    match selection {
        Selection::Matching {
            workspace: parent,
            filter,
        } => Box::new(std::iter::once(BatchRevokeTokensRequest {
            parent,
            filter,
            ..Default::default()
        })),
        Selection::Names(named) => Box::new(named.into_iter().flat_map(|(parent, names)| {
            let names: Vec<_> = names.into_iter().collect();
            let request = move |names: &[String]| BatchRevokeTokensRequest {
                parent: parent.clone(),
                names: names.to_vec(),
                ..Default::default()
            };
            names.chunks(MAX_NAMES).map(request).collect::<Vec<_>>()
        })),
    }
}
