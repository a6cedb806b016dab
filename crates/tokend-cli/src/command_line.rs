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
    command_error::{CommandError, USAGE},
    terminal::note,
};

/// Parses `arguments`, which start with the program's name.
///
/// # Errors
/// A usage error with the usage of the command in question, or the output of `--help` or `--version`.
pub(crate) fn parse<C: CommandFactory + FromArgMatches>(arguments: &[OsString]) -> Result<C, Error> {
    let mut command = without_empty_variables(C::command());
    command.build();
    let matches = command.try_get_matches_from_mut(arguments);
    matches
        .and_then(|mut matches| C::from_arg_matches_mut(&mut matches))
        .map_err(|error| {
            let mut named = named_command(&command, arguments);
            let mut error = error.format(&mut named);
            // Clap's own usage line shows flags that the environment supplies as required.
            if error.get(ContextKind::Usage).is_some() {
                error.insert(ContextKind::Usage, ContextValue::StyledStr(named.render_usage()));
            }
            error
        })
}

/// Prints the error or the help, and returns the exit code. A secret that was passed in a wrong place is cut out of the
/// message, so that it does not end up in logs of the command's output.
pub(crate) fn report(error: &Error) -> ExitCode {
    if let Cow::Owned(text) = without_secrets(&error.render().to_string()) {
        text.lines().for_each(note);
        return ExitCode::from(USAGE);
    }
    match error.print() {
        // A failure to write to stderr is ignored: the exit code still reports the error.
        _ if error.use_stderr() => ExitCode::from(USAGE),
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            CommandError::Other(format!("can't write to stdout: {error}")).report()
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Treats an empty variable as not set, for every flag of every command.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| {
            if arg.get_env().is_some_and(is_empty) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// Returns the command that the arguments name: `tokend token create` for `tokend token create --name`.
fn named_command(command: &Command, arguments: &[OsString]) -> Command {
    let mut named = command;
    for argument in arguments.iter().skip(1) {
        let Some(subcommand) = named.find_subcommand(argument) else {
            break;
        };
        named = subcommand;
    }
    named.clone()
}
