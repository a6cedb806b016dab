//! `tokend token create`.

use std::collections::BTreeMap;

use tokend_client::v1::{CreateTokenRequest, CreateTokenResponse, Token};
use tokend_core::{credential::Secret, text::quoted};

use super::expiry::Expiry;
use crate::{
    client::{connection::Connection, names, output::time, parse, secret},
    command_error::CommandError,
    stdout,
    terminal::note,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workspace that the token is for
    #[arg(long, value_parser = names::workspace)]
    workspace: String,
    /// A name for people
    #[arg(long)]
    name: String,
    /// What the token is for
    #[arg(long)]
    description: Option<String>,
    /// A scope to grant; repeatable
    #[arg(long, required = true, num_args = 1..)]
    scope: Vec<String>,
    /// Limit the token to this part of the workspace, such as workspaces/acme/repositories/site
    #[arg(long)]
    resource: Option<String>,
    #[command(flatten)]
    expiry: Expiry,
    /// A network that the token may be used from, such as 192.0.2.0/24; repeatable. Without it, the token may be used
    /// from all networks that the policies allow
    #[arg(long, value_name = "CIDR")]
    allowed_cidr: Vec<String>,
    /// A label to find the token by; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    label: Vec<(String, String)>,
    /// Make the command safe to repeat: for 24 hours, the same id creates no second token. The secret is not shown
    /// again
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Check whether the token could be created, without creating it
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command. Only the secret goes to stdout.
pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let Args {
        workspace,
        name,
        description,
        scope,
        resource,
        expiry,
        allowed_cidr,
        label,
        request_id,
        validate_only,
        connection,
    } = args;
    let is_retry_safe = request_id.is_some();
    let request = CreateTokenRequest {
        parent: workspace,
        display_name: name,
        description: description.unwrap_or_default(),
        scopes: scope,
        resource: resource.unwrap_or_default(),
        expiry: expiry.for_creation(),
        allowed_cidrs: allowed_cidr,
        labels: unique(label)?,
        request_id: request_id.unwrap_or_default(),
        validate_only,
    };
    if !validate_only {
        stdout::check_for_secret()?;
    }
    let answer = connection
        .open()
        .await?
        .token_admin()
        .create_token(request)
        .await?
        .into_inner();
    let CreateTokenResponse { token, secret } = answer;
    let (token, secret) = (token.unwrap_or_default(), Secret::new(secret));
    if validate_only {
        note(&format!("This would create {}. Nothing was created.", summary(&token)));
        return Ok(());
    }
    if is_retry_safe && secret.expose().is_empty() {
        note(&format!(
            "{} was created by an earlier call with this request id. Its secret was shown then and is not shown again.",
            token.name
        ));
        return Ok(());
    }
    secret::to_stdout(&secret, &token.name, &replacement_advice(&token.name))?;
    note_created(&token);
    Ok(())
}

/// Prints what was created.
pub(super) fn note_created(token: &Token) {
    note(&format!(
        "Created {}, {}. Its secret is not shown again.",
        token.name,
        summary(token)
    ));
}

/// Says what to do with a token whose secret is lost.
pub(super) fn replacement_advice(name: &str) -> String {
    format!("replace it with `tokend token rotate {name} --overlap 0s`, or revoke it with `tokend token revoke {name}`")
}

/// Describes what the service decides by default: the resource of a token, and its expiry.
fn summary(token: &Token) -> String {
    match &token.expire_time {
        Some(end) => format!("a token for {} that expires at {}", token.resource, time(Some(end), "")),
        None => format!("a token for {} that never expires", token.resource),
    }
}

fn unique(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, CommandError> {
    let mut unique = BTreeMap::new();
    for (key, value) in labels {
        if unique.contains_key(&key) {
            return Err(CommandError::Usage(format!(
                "the label {} is given twice",
                quoted(&key)
            )));
        }
        unique.insert(key, value);
    }
    Ok(unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_given_twice_is_refused() {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(unique(vec![label("a", "1"), label("b", "1")]).expect("labels").len(), 2);
        assert!(unique(vec![label("a", "1"), label("a", "1")]).is_err());
    }
}
