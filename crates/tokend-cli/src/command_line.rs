//! Reads the command line and the `TOKEND_*` variables that stand in for flags, and reports what is wrong with them.

use std::{
    borrow::Cow,
    env,
    ffi::{OsStr, OsString},
    io,
    process::ExitCode,
};

use clap::{
    Command, CommandFactory, Error, FromArgMatches,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};

use tokend_core::credential::without_secrets;

use crate::{
    failure::{Failure, USAGE},
    terminal::note,
};

/// Reads `arguments`, the program's name first.
///
/// # Errors
/// A usage error that shows the usage of the command that was asked for; or `--help` and `--version`, which end the program as well.
pub(crate) fn parse<C: CommandFactory + FromArgMatches>(arguments: &[OsString]) -> Result<C, Error> {
    let mut command = without_empty_variables(C::command());
    command.build();
    let matches = command.try_get_matches_from_mut(arguments);
    matches.and_then(|mut matches| C::from_arg_matches_mut(&mut matches)).map_err(|error| {
        let mut asked = asked_for(&command, arguments);
        let mut error = error.format(&mut asked);
        // Clap's own usage shows what the environment supplies as if it were required.
        if error.get(ContextKind::Usage).is_some() {
            error.insert(ContextKind::Usage, ContextValue::StyledStr(asked.render_usage()));
        }
        error
    })
}

/// Prints the error, or the help that was asked for, and returns the exit code. A secret that was given in place of something else is cut:
/// whoever keeps a command's output would keep it.
pub(crate) fn report(error: &Error) -> ExitCode {
    if let Cow::Owned(text) = without_secrets(&error.render().to_string()) {
        text.lines().for_each(note);
        return ExitCode::from(USAGE);
    }
    match error.print() {
        // If nobody listens on stderr, the exit code still says it.
        _ if error.use_stderr() => ExitCode::from(USAGE),
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Failure::Other(format!("can't write to stdout: {error}")).report()
        }
        _ => ExitCode::SUCCESS,
    }
}

/// An empty variable counts as one that is not set, for every flag of every command.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// The command that the first arguments name: `tokend token create` for `tokend token create --name`.
fn asked_for(command: &Command, arguments: &[OsString]) -> Command {
    let mut asked = command;
    for argument in arguments.iter().skip(1) {
        let Some(subcommand) = asked.find_subcommand(argument) else { break };
        asked = subcommand;
    }
    asked.clone()
}
