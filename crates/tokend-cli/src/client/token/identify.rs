//! `tokend token identify`.

use std::process::ExitCode;

use serde::Serialize;
use tokend_client::v1::{IdentifyTokenRequest, IdentifyTokenResponse};
use tokend_core::credential::{Kind, Malformed, Unverified};
use tonic::Code;

use crate::{
    client::{connection::Connection, output::Output, secret},
    command_error::CommandError,
    stdout::print,
    terminal::{View, note},
};

/// Reads the secret from stdin.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Shows which token a secret belongs to. If no server answers, shows what its spelling reveals.
pub(super) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let Args { output, connection } = args;
    let secret = secret::from_stdin()?;
    if secret.expose().is_empty() {
        return Err(CommandError::Other(
            "stdin is empty: pass the secret on stdin".to_owned(),
        ));
    }
    if !connection.names_a_server() {
        note(
            "No server was given with --address or TOKEND_ADDRESS. This is what the spelling reveals, not whether \
             the token exists.",
        );
        return offline(secret.expose(), output);
    }
    match ask(&connection, secret.expose()).await {
        Ok(answer) => output.print(&answer).map(|()| ExitCode::SUCCESS),
        Err(error) => match unanswered(&error) {
            Some(problem) => {
                note(&format!(
                    "{problem}. This is what the spelling reveals, not whether the token exists."
                ));
                offline(secret.expose(), output)
            }
            None => Err(error),
        },
    }
}

async fn ask(connection: &Connection, secret: &str) -> Result<IdentifyTokenResponse, CommandError> {
    let request = IdentifyTokenRequest {
        secret: secret.to_owned(),
    };
    Ok(connection
        .open()
        .await?
        .token_admin()
        .identify_token(request)
        .await?
        .into_inner())
}

/// Returns why no server has answered, if none has.
fn unanswered(error: &CommandError) -> Option<String> {
    match error {
        CommandError::Unreachable(message) => Some(message.clone()),
        CommandError::Call(error) if error.code == Code::Unavailable => Some(error.to_string()),
        // Something between the command and the service has answered.
        CommandError::Call(error) if error.reason.is_empty() => Some(error.to_string()),
        CommandError::Call(_) | CommandError::Usage(_) | CommandError::Other(_) => None,
    }
}

/// What the spelling of a secret reveals.
#[derive(Serialize)]
struct Findings {
    prefix: Option<String>,
    kind: Option<&'static str>,
    id: Option<String>,
    checksum: &'static str,
}

/// Prints what the spelling reveals. A wrong checksum is a finding, and makes the exit code 1.
fn offline(presented: &str, output: Output) -> Result<ExitCode, CommandError> {
    let (findings, code) = match Unverified::parse(presented) {
        Ok(unverified) => (findings(&unverified), ExitCode::SUCCESS),
        Err(Malformed::Checksum) => (
            Findings {
                prefix: None,
                kind: None,
                id: None,
                checksum: "wrong",
            },
            ExitCode::FAILURE,
        ),
        Err(malformed @ Malformed::Shape) => return Err(CommandError::Other(malformed.to_string())),
    };
    if output.is_table() {
        let Findings {
            prefix,
            kind,
            id,
            checksum,
        } = findings;
        let fields = vec![
            ("PREFIX", prefix.unwrap_or_default()),
            ("KIND", kind.unwrap_or_default().to_owned()),
            ("ID", id.unwrap_or_default()),
            ("CHECKSUM", checksum.to_owned()),
        ];
        print(&View::Details(fields).lines())?;
    } else {
        let json = serde_json::to_string_pretty(&findings).map_err(|error| CommandError::Other(error.to_string()))?;
        print(&(json + "\n"))?;
    }
    Ok(code)
}

fn findings(unverified: &Unverified<'_>) -> Findings {
    let kind = match unverified.kind() {
        Kind::WorkspaceToken => "workspace token",
        Kind::CallerKey => "caller key",
    };
    Findings {
        prefix: Some(unverified.prefix().to_string()),
        kind: Some(kind),
        id: Some(unverified.id().to_string()),
        checksum: "right",
    }
}
