use tokend_client::v1::{BatchRevokeTokensRequest, RevokeTokenRequest};

use super::{bulk, chosen::Chosen};
use crate::{
    client::{connection::Connection, output::Output},
    failure::Failure,
};

/// Most names in a call, as the contract has it.
const NAMES_IN_A_CALL: usize = 1_000;

/// What to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Why, for whoever looks at the tokens later
    #[arg(long)]
    reason: Option<String>,
    /// Show what would be ended, and end nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't wait until the tokens are dead in every replica and cache
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Ends the tokens.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { chosen, reason, dry_run, no_wait, output, connection } = args;
    let reason = reason.unwrap_or_default();
    let mut tokens = connection.open().await?.token_admin();
    if let Some(name) = chosen.one().filter(|_| !dry_run) {
        let answer = tokens.revoke_token(RevokeTokenRequest { name: name.to_owned(), reason, no_wait }).await?;
        return output.print_done(answer.get_ref(), &format!("{name} is revoked"));
    }
    let requests: Vec<_> = requests(chosen)
        .map(|request| BatchRevokeTokensRequest { reason: reason.clone(), validate_only: dry_run, no_wait, ..request })
        .collect();
    let told = bulk::revoke(requests, async |request| tokens.batch_revoke_tokens(request).await).await?;
    bulk::note_outcome(&told, dry_run);
    match dry_run {
        true => output.print(&told),
        false => output.print_done(&told, "the tokens are revoked"),
    }
}

fn requests(chosen: Chosen) -> Box<dyn Iterator<Item = BatchRevokeTokensRequest>> {
    match chosen {
        Chosen::Matching { workspace: parent, filter } => {
            Box::new(std::iter::once(BatchRevokeTokensRequest { parent, filter, ..Default::default() }))
        }
        Chosen::Named(named) => Box::new(named.into_iter().flat_map(|(parent, names)| {
            let names: Vec<_> = names.into_iter().collect();
            let of = move |some: &[String]| BatchRevokeTokensRequest {
                parent: parent.clone(),
                names: some.to_vec(),
                ..Default::default()
            };
            names.chunks(NAMES_IN_A_CALL).map(of).collect::<Vec<_>>()
        })),
    }
}
