//! `tokend verify`: checks what a token may do.

use std::process::ExitCode;

use tokend_client::v1::{self, Decision, VerifyRequest, VerifyResponse};

use super::{
    connection::Connection,
    output::{Output, answers, time, word},
    secret,
    token::labels,
};
use crate::command_error::{CommandError, DENY};
use crate::terminal::{View, note};

/// Reads the token from stdin.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The resource that the request accesses, such as workspaces/acme/repositories/site
    #[arg(long)]
    resource: String,
    /// A scope that the request needs; repeatable. The token must have all of them
    #[arg(long, value_name = "SCOPE", num_args = 1..)]
    scope: Vec<String>,
    /// The IP address of the client. Without it, a token that is limited to networks is denied
    #[arg(long, value_name = "IP")]
    client_address: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the verdict, and returns it as the exit code.
pub(super) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let Args {
        resource,
        scope,
        client_address,
        output,
        connection,
    } = args;
    let token = secret::from_stdin()?;
    if token.expose().is_empty() {
        note("Stdin is empty: the verdict is about an empty token.");
    }
    let request = VerifyRequest {
        token: token.expose().to_owned(),
        resource,
        required_scopes: scope,
        client_address: client_address.unwrap_or_default(),
        ..Default::default()
    };
    let verdict = connection
        .open()
        .await?
        .token_verify()
        .verify(request)
        .await?
        .into_inner();
    output.print(&verdict)?;
    Ok(exit_code(verdict.decision()))
}

/// Every decision but ALLOW counts as DENY.
fn exit_code(decision: Decision) -> ExitCode {
    match decision {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny | Decision::Unspecified => ExitCode::from(DENY),
    }
}

answers! {
    VerifyResponse(verdict) => view(verdict),
}

fn view(verdict: &VerifyResponse) -> View {
    let mut fields = vec![("DECISION", word(verdict.decision().as_str_name(), "DECISION_"))];
    if verdict.decision() == Decision::Deny {
        fields.push(("REASON", word(verdict.deny_reason().as_str_name(), "DENY_REASON_")));
        fields.push(("MISSING SCOPES", verdict.missing_scopes.join(" ")));
    }
    fields.extend(verdict.token.as_ref().map(token_fields).unwrap_or_default());
    View::Details(fields)
}

fn token_fields(token: &v1::VerifiedToken) -> Vec<(&'static str, String)> {
    vec![
        ("TOKEN", token.name.clone()),
        ("DISPLAY NAME", token.display_name.clone()),
        ("RESOURCE", token.resource.clone()),
        ("SCOPES", token.scopes.join(" ")),
        ("EXPIRES", time(token.expire_time.as_ref(), "never")),
        ("ALLOWED CIDRS", token.allowed_cidrs.join(" ")),
        ("LABELS", labels(&token.labels)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allow_is_zero() {
        for (decision, code) in [(Decision::Allow, 0), (Decision::Deny, 3), (Decision::Unspecified, 3)] {
            assert_eq!(
                format!("{:?}", exit_code(decision)),
                format!("{:?}", ExitCode::from(code)),
                "{decision:?}"
            );
        }
        let unknown = VerifyResponse {
            decision: 77,
            ..Default::default()
        };
        assert_eq!(unknown.decision(), Decision::Unspecified);
    }

    #[test]
    fn a_denial_has_its_reason() {
        let verdict = VerifyResponse {
            decision: Decision::Deny.into(),
            deny_reason: v1::DenyReason::InsufficientScope.into(),
            missing_scopes: vec!["project".to_owned(), "runner".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            view(&verdict).lines(),
            "DECISION        DENY\nREASON          INSUFFICIENT_SCOPE\nMISSING SCOPES  project runner\n"
        );
    }
}
