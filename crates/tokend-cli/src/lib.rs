//! The command line of `tokend`: what operates the service (`operate`) and what asks it (`client`).
//!
//! A secret is printed alone on stdout, everything around it on stderr, and none is ever read from an argument.
//! Exit codes: 0 done or ALLOW, 1 error, 2 usage, 3 DENY, 4 the caller is not authenticated or not allowed.

mod client;
mod failure;
mod hardening;
mod operate;
mod progress;
mod terminal;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokend_core::clock::Clock;

use failure::Failure;

/// The workspace access-token service: issues, lists and revokes tokens, and answers whether one may do this, here, now.
#[derive(Debug, Parser)]
#[command(name = "tokend", version, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the main job before your eyes, on a throw-away database, and keep serving on loopback
    Dev(operate::dev::Args),
    /// Make an installation: schema, key ring and the first ADMIN caller, whose key is printed on stdout
    Init(operate::init::Args),
    /// Serve
    Serve(operate::serve::Args),
    /// Bring the database's schema up to date, or tell how it stands
    #[command(subcommand)]
    Migrate(operate::migrate::Command),
    /// Add, activate and retire the keys that mint tokens, or tell how they stand
    #[command(subcommand)]
    Keyring(operate::keyring::Command),
    /// Show who did what, or verify that the record of it is whole
    #[command(subcommand)]
    Audit(Audit),
    /// Write everything that ever ended to stdout, for `tokend restore`
    ExportRevocations(operate::revocations::ExportArgs),
    /// End again, in a database restored from a backup, what ended since; while no server runs
    Restore(operate::revocations::RestoreArgs),
    #[command(flatten)]
    Client(client::Command),
    /// Print the completion script of a shell
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
    /// Verify the audit log in the database, and every row that it tells of, with the key ring. Changes nothing; servers may go on
    Verify(operate::audit::Args),
}

/// How long the end of the process waits for what can't be stopped.
const LAST_LOOKUPS: Duration = Duration::from_secs(1);

/// Runs the command that the process was started with, and tells the exit code.
#[must_use]
pub fn run(clock: Clock) -> ExitCode {
    // Usage errors, --help and --version end the process here, with 2 or 0.
    let Cli { command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    // Every command handles a secret or may be handed one; none is worth an exception.
    if let Err(sentence) = hardening::prepare() {
        return Failure::Other(sentence).report();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Other(format!("can't start: {error}")).report(),
    };
    let done = runtime.block_on(carry_out(command, clock));
    // Looking a host's name up can take half a minute, and can't be cut short.
    runtime.shutdown_timeout(LAST_LOOKUPS);
    match done {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn carry_out(command: Command, clock: Clock) -> Result<ExitCode, Failure> {
    match command {
        Command::Dev(args) => operate::dev::run(args, clock).await,
        Command::Init(args) => operate::init::run(args, clock).await,
        Command::Serve(args) => operate::serve::run(args, clock).await,
        Command::Migrate(command) => operate::migrate::run(command).await,
        Command::Keyring(command) => operate::keyring::run(command, clock).await,
        Command::Audit(Audit::Client(command)) => client::audit::run(command).await,
        Command::Audit(Audit::Verify(args)) => operate::audit::run(args, clock).await,
        Command::ExportRevocations(args) => operate::revocations::export(args, clock).await,
        Command::Restore(args) => operate::revocations::restore(args, clock).await,
        Command::Client(command) => client::run(command, &clock).await,
        Command::Completion { shell } => completion(&shell),
    }
}

fn completion(shell: &str) -> Result<ExitCode, Failure> {
    let shell: Shell = shell.parse().map_err(Failure::Other)?;
    clap_complete::generate(shell, &mut Cli::command(), "tokend", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
