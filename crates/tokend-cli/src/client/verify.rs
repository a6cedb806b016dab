//! `tokend verify`: may this token do this, here, now?

use std::process::ExitCode;

use tokend_client::v1::{self, Decision, VerifyRequest, VerifyResponse};

use super::{
    connection::Connection,
    output::{Answer, Output, time, word},
    secret,
    token::labels,
};
use crate::failure::{DENY, Failure};
use crate::terminal::{View, note};

/// The token is read from stdin.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the request is about, such as workspaces/acme/repositories/site
    #[arg(long)]
    resource: String,
    /// A scope that the request needs; all that are given must be there
    #[arg(long, value_name = "SCOPE", num_args = 1..)]
    scope: Vec<String>,
    /// The client's IP address. Unknown, a token with an allow-list is denied
    #[arg(long, value_name = "IP")]
    client_address: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the verdict, which also is the exit code.
pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Args { resource, scope, client_address, output, connection } = args;
    let token = secret::from_stdin()?;
    if token.expose().is_empty() {
        note("There is no token on stdin; the verdict is about an empty one.");
    }
    let request = VerifyRequest {
        token: token.expose().to_owned(),
        resource,
        required_scopes: scope,
        client_address: client_address.unwrap_or_default(),
        ..Default::default()
    };
    let verdict = connection.open().await?.token_verify().verify(request).await?.into_inner();
    output.print(&verdict)?;
    Ok(exit_code(verdict.decision()))
}

/// Anything but a clear yes is a no.
fn exit_code(decision: Decision) -> ExitCode {
    match decision {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny | Decision::Unspecified => ExitCode::from(DENY),
    }
}

impl Answer for VerifyResponse {
    const MESSAGE: &'static str = "tokend.v1.VerifyResponse";

    fn view(&self) -> View {
        let mut fields = vec![("DECISION", word(self.decision().as_str_name(), "DECISION_"))];
        if self.decision() == Decision::Deny {
            fields.push(("REASON", word(self.deny_reason().as_str_name(), "DENY_REASON_")));
            fields.push(("MISSING SCOPES", self.missing_scopes.join(" ")));
        }
        fields.extend(self.token.as_ref().map(token_fields).unwrap_or_default());
        View::Details(fields)
    }
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
            assert_eq!(format!("{:?}", exit_code(decision)), format!("{:?}", ExitCode::from(code)), "{decision:?}");
        }
        let of_the_future = VerifyResponse { decision: 77, ..Default::default() };
        assert_eq!(of_the_future.decision(), Decision::Unspecified);
    }

    #[test]
    fn a_denial_tells_why() {
        let verdict = VerifyResponse {
            decision: Decision::Deny.into(),
            deny_reason: v1::DenyReason::InsufficientScope.into(),
            missing_scopes: vec!["project".to_owned(), "runner".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            verdict.view().lines(),
            "DECISION        DENY\nREASON          INSUFFICIENT_SCOPE\nMISSING SCOPES  project runner\n"
        );
    }
}
