//! The command line of `tokend`: commands that operate the service (`operate`), and its client (`client`).
//!
//! A secret is printed alone on stdout, and all other messages on stderr. Secrets are never read from arguments.
//! Exit codes: 0 done or ALLOW, 1 error, 2 usage, 3 DENY, 4 the caller is not authenticated or not allowed.

mod client;
mod command_error;
mod command_line;
mod operate;
mod process;
mod progress;
mod stdout;
mod terminal;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokend_core::time::Clock;

use command_error::CommandError;

/// The workspace access-token service. It issues, lists and revokes tokens, and verifies them for other services.
#[derive(Debug, Parser)]
#[command(name = "tokend", version, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a throw-away installation on loopback, and demonstrate creating, verifying and revoking a token
    Dev(operate::dev::Args),
    /// Create an installation: the schema, the key ring, and the first ADMIN caller, whose key is printed on stdout
    Init(operate::init::Args),
    /// Run the server
    ///
    /// On SIGTERM, SIGINT (Ctrl-C) or SIGQUIT the server drains: it answers the calls in progress, writes its last
    /// records, and exits within 20 seconds. SIGHUP, SIGUSR1 and SIGUSR2 are ignored: the server re-reads changed
    /// certificates, keys and secrets without a signal.
    Serve(operate::serve::Args),
    /// Update the database schema, or show its version
    #[command(subcommand)]
    Migrate(operate::migrate::Command),
    /// Show or change how long servers may answer from memory, and so how long revocations take
    #[command(subcommand)]
    Lease(operate::lease::Command),
    /// Add, activate, retire and list the keys that create tokens
    #[command(subcommand)]
    Keyring(operate::keyring::Command),
    /// Read the audit log, or verify its integrity
    #[command(subcommand)]
    Audit(Audit),
    /// Print all revocations, as input for `tokend restore`
    ExportRevocations(operate::revocations::ExportArgs),
    /// Re-apply revocations to a restored database. Stop all servers first
    Restore(operate::revocations::RestoreArgs),
    #[command(flatten)]
    Client(client::Command),
    /// Print a shell completion script
    Completion {
        /// The shell
        #[arg(value_parser = ["bash", "zsh", "fish"])]
        shell: String,
    },
}

#[derive(Debug, Subcommand)]
enum Audit {
    #[command(flatten)]
    Client(client::audit::Command),
    /// Verify the audit log in the database, and every row that it describes, with the key ring. Changes nothing, and
    /// servers may keep running
    Verify(operate::audit::Args),
}

/// How long the process waits at its end for tasks that can't be cancelled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the command that the process was started with, and returns its exit code.
#[must_use]
pub fn run(clock: Clock) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // Usage errors, --help and --version end here, with 2 or 0.
    let Cli { command } = match command_line::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return command_line::report(&error),
    };
    // Every command handles secrets, or may be passed one by mistake.
    if let Err(message) = process::protect_secrets() {
        return CommandError::Other(message).report();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CommandError::Other(format!("can't start: {error}")).report(),
    };
    let outcome = runtime.block_on(execute(command, clock));
    // A DNS look-up can take half a minute, and can't be cancelled.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    match outcome {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

async fn execute(command: Command, clock: Clock) -> Result<ExitCode, CommandError> {
    match command {
        Command::Dev(args) => operate::dev::run(args, clock).await,
        Command::Init(args) => operate::init::run(args, clock).await,
        Command::Serve(args) => operate::serve::run(args, clock).await,
        Command::Migrate(command) => operate::migrate::run(command).await,
        Command::Lease(command) => operate::lease::run(command, clock).await,
        Command::Keyring(command) => operate::keyring::run(command, clock).await,
        Command::Audit(Audit::Client(command)) => client::audit::run(command).await,
        Command::Audit(Audit::Verify(args)) => operate::audit::run(args, clock).await,
        Command::ExportRevocations(args) => operate::revocations::export(args, clock).await,
        Command::Restore(args) => operate::revocations::restore(args, clock).await,
        Command::Client(command) => client::run(command, &clock).await,
        Command::Completion { shell } => completion(&shell),
    }
}

fn completion(shell: &str) -> Result<ExitCode, CommandError> {
    let shell: Shell = shell.parse().map_err(CommandError::Other)?;
    // Into a buffer first: clap_complete panics if a write fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tokend", &mut script);
    stdout::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{ArgAction, Command};

    use super::*;

    /// Returns every argument of every command, with the command's name.
    fn arguments(command: &Command) -> Vec<(String, clap::Arg)> {
        let own = command
            .get_arguments()
            .map(|argument| (command.get_name().to_owned(), argument.clone()));
        own.chain(command.get_subcommands().flat_map(arguments)).collect()
    }

    /// A variable could only turn on a flag without a value, never off.
    #[test]
    fn flags_with_a_variable_take_a_value() {
        let from_environment: Vec<_> = arguments(&Cli::command())
            .into_iter()
            .filter(|(_, argument)| argument.get_env().is_some())
            .collect();
        assert!(from_environment.len() > 20);
        for (command, argument) in from_environment {
            assert!(
                matches!(argument.get_action(), ArgAction::Set | ArgAction::Append),
                "{command} --{}",
                argument.get_id()
            );
        }
    }
}
