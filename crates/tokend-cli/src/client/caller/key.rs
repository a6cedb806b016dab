//! `tokend caller key`: the keys by which callers authenticate.

use clap::Subcommand;
use prost_types::Duration;
use tokend_client::v1::{CreateCallerKeyRequest, CreateCallerKeyResponse, ListCallerKeysRequest, RevokeCallerKeyRequest};
use tokend_core::credential::Secret;

use crate::terminal::note;
use crate::{
    client::{
        connection::Connection,
        names,
        output::{Output, time},
        paging::Paging,
        parse, secret,
    },
    failure::Failure,
    stdout,
};

/// What can be done with a caller's keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key; its secret alone is printed on stdout, this once
    Create(CreateArgs),
    /// List a caller's keys, ended ones included
    List(ListArgs),
    /// End a key
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The caller: its name or its id
    #[arg(value_parser = names::caller)]
    caller: String,
    /// How long the key works, such as 30d or 12h; 90 days if absent
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The caller: its name or its id
    #[arg(value_parser = names::caller)]
    caller: String,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// The key's full name, callers/CALLER/keys/ID
    name: String,
    /// Don't wait until every replica knows
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out a command.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { caller: parent, ttl, connection } = args;
    let request = CreateCallerKeyRequest { parent, ttl };
    let caller = request.parent.clone();
    stdout::check_for_secret()?;
    let answer = connection.open().await?.caller_admin().create_caller_key(request).await?.into_inner();
    let CreateCallerKeyResponse { key, secret } = answer;
    let (key, secret) = (key.unwrap_or_default(), Secret::new(secret));
    let name = &key.name;
    let remedy =
        format!("revoke it with `tokend caller key revoke {name}`, and create another with `tokend caller key create {caller}`");
    secret::to_stdout(&secret, name, &remedy)?;
    note(&format!("Made {name}: it works until {}. Its secret is shown this once.", time(key.expire_time.as_ref(), "revoked")));
    Ok(())
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let ListArgs { caller: parent, paging, output, connection } = args;
    let mut callers = connection.open().await?.caller_admin();
    let list = paging
        .gather(async |page_size, page_token| {
            callers.list_caller_keys(ListCallerKeysRequest { parent: parent.clone(), page_size, page_token }).await
        })
        .await?;
    output.print_list(&list)
}

async fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    let RevokeArgs { name, no_wait, output, connection } = args;
    let done = format!("{name} is revoked");
    let request = RevokeCallerKeyRequest { name, no_wait };
    let answer = connection.open().await?.caller_admin().revoke_caller_key(request).await?;
    output.print_done(answer.get_ref(), &done)
}
