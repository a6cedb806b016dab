//! `tokend token rotate`.

use prost_types::Duration;
use tokend_client::v1::{RotateTokenRequest, RotateTokenResponse};
use tokend_core::credential::Secret;

use super::{
    create::{note_created, replacement_advice},
    expiry::Expiry,
};
use crate::{
    client::{connection::Connection, names::TokenName, output::time, parse, secret, single::NoWait},
    command_error::CommandError,
    stdout,
    terminal::note,
};

/// Without --ttl, --expire-time or --no-expiry, the new token gets the lifetime that was requested for the old one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: TokenName,
    /// How long the old token keeps working, such as 30m or 12h: at most 30d, and never past its own expiry; 0s stops
    /// it at once. A token that the old one had replaced stops working at once [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    overlap: Option<Duration>,
    #[command(flatten)]
    expiry: Expiry,
    /// Make the command safe to repeat: for 24 hours, the same id creates no second token. The secret is not shown
    /// again
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    no_wait: NoWait,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command. Only the new secret goes to stdout.
pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let Args {
        name: TokenName(name),
        overlap,
        expiry,
        request_id,
        no_wait: NoWait { no_wait },
        connection,
    } = args;
    let is_retry_safe = request_id.is_some();
    let request = RotateTokenRequest {
        name,
        overlap,
        expiry: expiry.for_rotation(),
        request_id: request_id.unwrap_or_default(),
        no_wait,
    };
    stdout::check_for_secret()?;
    let answer = connection
        .open()
        .await?
        .token_admin()
        .rotate_token(request)
        .await?
        .into_inner();
    let RotateTokenResponse {
        token,
        secret,
        predecessor,
        revision: _,
    } = answer;
    let (token, predecessor, secret) = (
        token.unwrap_or_default(),
        predecessor.unwrap_or_default(),
        Secret::new(secret),
    );
    let old_end = time(predecessor.expire_time.as_ref(), "never");
    if is_retry_safe && secret.expose().is_empty() {
        note(&format!(
            "{} was created by an earlier call with this request id. {} expires at {old_end}. The secret was shown \
             then and \
             is not shown again.",
            token.name, predecessor.name
        ));
        return Ok(());
    }
    let remedy = format!(
        "{}; {} expires at {old_end}",
        replacement_advice(&token.name),
        predecessor.name
    );
    secret::to_stdout(&secret, &token.name, &remedy)?;
    note(&format!("{} expires at {old_end}.", predecessor.name));
    note_created(&token);
    Ok(())
}
