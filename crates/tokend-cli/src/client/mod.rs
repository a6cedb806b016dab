//! The client's commands: one module for each kind of resource. Most commands make one call.
//!
//! ```text
//! arguments -> names, parse -> request -> connection -> response -> output -> stdout (a table or JSON)
//! stdin ------> secret ---------^                            +----> secret -> stdout, alone
//! ```
//!
//! The service validates values; the client only parses their notation. A secret comes from stdin, a file or the
//! environment, and is printed alone on stdout. Messages for people go to stderr.
//!
//! Commands that list resources share [`list`]; those that show or change one resource share [`single`].

pub(crate) mod audit;
mod caller;
mod organization;
mod policy;
mod scopes;
mod token;
mod verify;
mod workspace;

pub(crate) mod commands;
mod connection;
mod list;
mod names;
pub(crate) mod output;
mod parse;
mod retry;
mod secret;
mod single;
mod tls;

use std::process::ExitCode;

use clap::Subcommand;
use tokend_core::time::Clock;

use crate::command_error::CommandError;

/// Commands of the client.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Verify the token on stdin. The exit code is 0 for ALLOW and 3 for DENY
    Verify(verify::Args),
    /// Create, list, rotate and revoke workspace access tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Create, list, suspend and delete workspaces
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Create and list organizations, which group workspaces
    #[command(subcommand)]
    Organization(organization::Command),
    /// Show and change the token policies of workspaces and organizations
    #[command(subcommand)]
    Policy(policy::Command),
    /// Create, list and delete callers and their keys
    #[command(subcommand)]
    Caller(caller::Command),
    /// List the scopes that can be granted
    #[command(subcommand)]
    Scopes(scopes::Command),
}

/// Runs a command and returns its exit code.
pub(crate) async fn run(command: Command, clock: &Clock) -> Result<ExitCode, CommandError> {
    match command {
        Command::Verify(args) => verify::run(args).await,
        Command::Token(command) => token::run(command, clock).await,
        Command::Workspace(command) => workspace::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Organization(command) => organization::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Policy(command) => policy::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Caller(command) => caller::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Scopes(command) => scopes::run(command).await.map(|()| ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Parser, error::ErrorKind};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn usage_error(line: &str) -> Option<ErrorKind> {
        Cli::try_parse_from(line.split(' ')).err().map(|error| error.kind())
    }

    #[test]
    fn valid_command_lines() {
        for line in [
            "tokend verify --resource workspaces/acme --scope repository --scope project",
            "tokend verify --resource workspaces/acme --scope repository project --client-address 192.0.2.7 -o json",
            "tokend verify --resource workspaces/acme",
            "tokend token create --workspace acme --name ci --scope repository:write --ttl 30d",
            "tokend token create --workspace acme --name ci --scope repository --no-expiry --label a=b --label c=d",
            "tokend token list --workspace workspaces/acme --page-size 5 --filter state=ACTIVE",
            "tokend token get workspaces/acme/tokens/x --address [::1]:1 --caller-key-file f",
            "tokend token rotate x --workspace acme --overlap 0s --expire-time 2027-01-31T12:00:00Z --request-id r \
             --no-wait",
            "tokend token rotate workspaces/acme/tokens/x",
            "tokend token list --workspace acme --expiring 30d --filter labels.team=web",
            "tokend token revoke x --workspace acme --reason leaked --no-wait",
            "tokend token revoke workspaces/acme/tokens/x workspaces/globex/tokens/y --reason leaked -o json",
            "tokend token revoke --workspace acme --filter resource:workspaces/acme/projects/web --dry-run",
            "tokend token report-leaks --source scanner --url https://example.org/1 -o json",
            "tokend token identify",
            "tokend workspace create acme --display-name Acme --organization initech",
            "tokend workspace suspend acme --no-wait",
            "tokend workspace resume workspaces/acme",
            "tokend workspace delete acme",
            "tokend organization create initech --display-name Initech",
            "tokend organization get organizations/initech -o json",
            "tokend organization list --page-size 5",
            "tokend policy get acme",
            "tokend policy list -o json",
            "tokend policy update organizations/initech --max-lifetime 90d --require-expiry --existing-tokens apply \
             --dry-run",
            "tokend policy update acme --require-expiry=no",
            "tokend policy update acme --require-expiry=false --clear allowed-scopes --clear max-active-tokens \
             --etag x",
            "tokend policy update acme --allowed-scope repository --allowed-scope project --allowed-cidr 192.0.2.0/24",
            "tokend caller create gate --role workspace-admin --workspace acme --workspace globex",
            "tokend caller create gate --role admin --all-workspaces --certificate-san spiffe://a/b",
            "tokend caller key create gate --ttl 12h",
            "tokend caller key revoke callers/gate/keys/x",
            "tokend scopes list -o json",
        ] {
            assert_eq!(usage_error(line), None, "{line}");
        }
    }

    #[test]
    fn usage_errors() {
        for (line, kind) in [
            ("tokend verify --scope repository", ErrorKind::MissingRequiredArgument),
            (
                "tokend verify --resource workspaces/acme tkdw_secret",
                ErrorKind::UnknownArgument,
            ),
            (
                "tokend token create --workspace acme --name ci",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "tokend token create --workspace acme --name ci --scope a --ttl 1d --no-expiry",
                ErrorKind::ArgumentConflict,
            ),
            (
                "tokend token create --workspace acme --name ci --scope a --ttl 1mo",
                ErrorKind::ValueValidation,
            ),
            (
                "tokend token create --workspace acme --name ci --scope a --label b",
                ErrorKind::ValueValidation,
            ),
            ("tokend token rotate x", ErrorKind::MissingRequiredArgument),
            (
                "tokend token rotate workspaces/acme/tokens/x --ttl 1d --no-expiry",
                ErrorKind::ArgumentConflict,
            ),
            ("tokend token get x", ErrorKind::MissingRequiredArgument),
            ("tokend token revoke", ErrorKind::MissingRequiredArgument),
            ("tokend token revoke x y", ErrorKind::MissingRequiredArgument),
            (
                "tokend token revoke --workspace acme",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "tokend token revoke --filter state=ACTIVE",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "tokend token revoke x --workspace acme --filter state=ACTIVE",
                ErrorKind::ArgumentConflict,
            ),
            (
                "tokend token report-leaks --source scanner",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "tokend token report-leaks --source scanner --url u tkdw_secret",
                ErrorKind::UnknownArgument,
            ),
            (
                "tokend token get workspaces/acme/tokens/x --workspace globex",
                ErrorKind::ArgumentConflict,
            ),
            ("tokend policy update acme", ErrorKind::MissingRequiredArgument),
            (
                "tokend policy update acme --dry-run",
                ErrorKind::MissingRequiredArgument,
            ),
            ("tokend policy update acme --clear everything", ErrorKind::InvalidValue),
            (
                "tokend policy update acme --require-expiry=maybe",
                ErrorKind::ValueValidation,
            ),
            (
                "tokend caller create gate --role verifier",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "tokend caller create gate --role verifier --all-workspaces --workspace acme",
                ErrorKind::ArgumentConflict,
            ),
            (
                "tokend caller create gate --role root --all-workspaces",
                ErrorKind::InvalidValue,
            ),
        ] {
            assert_eq!(usage_error(line), Some(kind), "{line}");
        }
    }
}
