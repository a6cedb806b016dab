use std::process::ExitCode;

use serde::Serialize;
use tokend_client::v1::{IdentifyTokenRequest, IdentifyTokenResponse};
use tokend_core::credential::{Kind, Malformed, Unverified};
use tonic::Code;

use crate::terminal::{View, note};
use crate::{
    client::{connection::Connection, output::Output, secret},
    failure::Failure,
    stdout::print,
};

/// The secret is read from stdin.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Tells which token a secret belongs to; without a server that answers, what its spelling tells.
pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Args { output, connection } = args;
    let secret = secret::from_stdin()?;
    if secret.expose().is_empty() {
        return Err(Failure::Other("there is no secret on stdin".to_owned()));
    }
    if !connection.names_a_server() {
        note("No server is named (--address, TOKEND_ADDRESS): this is what the spelling tells, not whether such a token exists.");
        return offline(secret.expose(), output);
    }
    match ask(&connection, secret.expose()).await {
        Ok(answer) => output.print(&answer).map(|()| ExitCode::SUCCESS),
        Err(failure) => match unanswered(&failure) {
            Some(problem) => {
                note(&format!("{problem}. This is what the spelling tells, not whether such a token exists."));
                offline(secret.expose(), output)
            }
            None => Err(failure),
        },
    }
}

async fn ask(connection: &Connection, secret: &str) -> Result<IdentifyTokenResponse, Failure> {
    let request = IdentifyTokenRequest { secret: secret.to_owned() };
    Ok(connection.open().await?.token_admin().identify_token(request).await?.into_inner())
}

/// Why no server has answered, if none has.
fn unanswered(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Unreachable(sentence) => Some(sentence.clone()),
        Failure::Call(failure) if failure.code == Code::Unavailable => Some(failure.to_string()),
        // Something on the way has answered instead.
        Failure::Call(failure) if failure.reason.is_empty() => Some(failure.to_string()),
        Failure::Call(_) | Failure::Usage(_) | Failure::Other(_) => None,
    }
}

/// What a secret's spelling tells.
#[derive(Serialize)]
struct Findings {
    prefix: Option<String>,
    kind: Option<&'static str>,
    id: Option<String>,
    checksum: &'static str,
}

/// A wrong checksum is told as a finding, and as a failure by the exit code.
fn offline(presented: &str, output: Output) -> Result<ExitCode, Failure> {
    let (findings, code) = match Unverified::parse(presented) {
        Ok(unverified) => (findings(&unverified), ExitCode::SUCCESS),
        Err(Malformed::Checksum) => (Findings { prefix: None, kind: None, id: None, checksum: "wrong" }, ExitCode::FAILURE),
        Err(malformed @ Malformed::Shape) => return Err(Failure::Other(malformed.to_string())),
    };
    if output.is_table() {
        let Findings { prefix, kind, id, checksum } = findings;
        let fields = vec![
            ("PREFIX", prefix.unwrap_or_default()),
            ("KIND", kind.unwrap_or_default().to_owned()),
            ("ID", id.unwrap_or_default()),
            ("CHECKSUM", checksum.to_owned()),
        ];
        print(&View::Details(fields).lines())?;
    } else {
        let json = serde_json::to_string_pretty(&findings).map_err(|error| Failure::Other(error.to_string()))?;
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
