//! `tokend caller key`: commands about the keys that callers authenticate with.

use clap::Subcommand;
use prost_types::Duration;
use tokend_client::{
    Client,
    v1::{CallerKey, CreateCallerKeyRequest, CreateCallerKeyResponse, ListCallerKeysRequest, RevokeCallerKeyRequest},
};
use tokend_core::credential::Secret;

use crate::{
    client::{
        connection::Connection,
        list::ListArgs,
        names::{CallerKeyName, CallerName, Named},
        output::{answers, time, word},
        parse, secret,
        single::EndArgs,
        token::NOT_USED,
    },
    command_error::CommandError,
    stdout,
    terminal::{Field, View, note},
};

/// Commands about caller keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a key and print its secret on stdout. The secret is never shown again
    Create(CreateArgs),
    /// List a caller's keys, including expired and revoked ones
    List(ListArgs<CallerName>),
    /// Permanently revoke a key
    Revoke(EndArgs<CallerKeyName>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    caller: CallerName,
    /// How long the key works, such as 30d or 12h [default: 90d]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs a command.
pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => {
            let list = async |client: &Client, CallerName { name }: &CallerName, page_size, page_token| {
                let request = ListCallerKeysRequest {
                    parent: name.clone(),
                    page_size,
                    page_token,
                };
                client.caller_admin().list_caller_keys(request).await
            };
            args.run(list).await
        }
        Command::Revoke(args) => {
            let revoke = async |client: Client, name, no_wait| {
                let request = RevokeCallerKeyRequest { name, no_wait };
                client.caller_admin().revoke_caller_key(request).await
            };
            args.change("revoked", revoke).await
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs {
        caller,
        ttl,
        connection,
    } = args;
    let caller = caller.into_name();
    let request = CreateCallerKeyRequest {
        parent: caller.clone(),
        ttl,
    };
    stdout::check_for_secret()?;
    let client = connection.open().await?;
    let answer = client.caller_admin().create_caller_key(request).await?.into_inner();
    let CreateCallerKeyResponse { key, secret } = answer;
    let (key, secret) = (key.unwrap_or_default(), Secret::new(secret));
    let name = &key.name;
    let remedy = format!(
        "revoke it with `tokend caller key revoke {name}`, and create another with `tokend caller key create {caller}`"
    );
    secret::to_stdout(&secret, name, &remedy)?;
    note(&format!(
        "Created {name}. It works until {}. Its secret is not shown again.",
        time(key.expire_time.as_ref(), "it is revoked")
    ));
    Ok(())
}

const FIELDS: &[Field<CallerKey>] = &[
    ("NAME", |key| key.name.clone()),
    ("STATE", |key| word(key.state().as_str_name(), "STATE_")),
    ("CREATED", |key| time(key.create_time.as_ref(), "")),
    ("EXPIRES", |key| time(key.expire_time.as_ref(), "never")),
    ("LAST USED", |key| time(key.last_used_time.as_ref(), NOT_USED)),
    ("HINT", |key| key.hint.clone()),
];

answers! {
    ListCallerKeysResponse(answer) => View::list(&answer.keys, FIELDS, "The caller has no keys."),
    RevokeCallerKeyResponse(answer) => View::details(answer.key.as_ref(), FIELDS),
}
