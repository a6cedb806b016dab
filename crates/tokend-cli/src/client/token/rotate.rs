use prost_types::Duration;
use tokend_client::v1::{RotateTokenRequest, RotateTokenResponse};
use tokend_core::credential::Secret;

use super::{
    create::{replace, sketch},
    expiry::Expiry,
};
use crate::terminal::note;
use crate::{
    client::{connection::Connection, names::TokenName, output::time, parse, secret},
    failure::Failure,
    stdout,
};

/// What to replace, and how. No end chosen: the new token lasts as long as the old one was made to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: TokenName,
    /// How long the old token still works, such as 30m or 12h: at most 30d, and to its own end; 0s: it ends at once. What the token itself
    /// replaced and still works expires at once [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    overlap: Option<Duration>,
    #[command(flatten)]
    expiry: Expiry,
    /// Makes the command safe to repeat: for 24 hours the same id makes no second token, and no second secret
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Don't wait until every replica and cache knows when the old token ends
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Replaces the token. The new secret is all that goes to stdout.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { name: TokenName(name), overlap, expiry, request_id, no_wait, connection } = args;
    let is_retry_safe = request_id.is_some();
    let request =
        RotateTokenRequest { name, overlap, expiry: expiry.of_rotation(), request_id: request_id.unwrap_or_default(), no_wait };
    stdout::check_for_secret()?;
    let answer = connection.open().await?.token_admin().rotate_token(request).await?.into_inner();
    let RotateTokenResponse { token, secret, predecessor, revision: _ } = answer;
    let (token, predecessor, secret) = (token.unwrap_or_default(), predecessor.unwrap_or_default(), Secret::new(secret));
    let old_end = time(predecessor.expire_time.as_ref(), "never");
    if is_retry_safe && secret.expose().is_empty() {
        note(&format!(
            "{} was made by an earlier call with this request id; {} ends at {old_end}. The secret was shown then, and never again.",
            token.name, predecessor.name
        ));
        return Ok(());
    }
    let remedy = format!("{}; {} ends at {old_end}", replace(&token.name), predecessor.name);
    secret::to_stdout(&secret, &token.name, &remedy)?;
    note(&format!("{} ends at {old_end}.", predecessor.name));
    note(&format!("Made {}: {}. Its secret is shown this once.", token.name, sketch(&token)));
    Ok(())
}
