//! Errors of commands, and their exit codes.

use std::process::ExitCode;

use tokend_client::ConnectError;
use tonic::Code;

use crate::{client::commands::in_commands, terminal::note};

/// Exit code of errors without a code of their own.
const ERROR: u8 = 1;
/// Exit code of usage errors.
pub(crate) const USAGE: u8 = 2;
/// Exit code of a verification that ends in DENY.
pub(crate) const DENY: u8 = 3;
/// Exit code if the caller is not authenticated or not allowed.
const NOT_ALLOWED: u8 = 4;

/// The error of a command, with a message for people.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The service rejected the call or failed.
    Call(tokend_client::CallError),
    /// The service can't be reached.
    Unreachable(String),
    /// The command line is wrong.
    Usage(String),
    /// Anything else.
    Other(String),
}

impl CommandError {
    /// Adds what the command has already changed to an error that occurred afterwards. `done` is a clause such as
    /// "callers/gate is deleted".
    pub(crate) fn after_change(self, done: &str) -> Self {
        match self {
            Self::Other(message) => Self::Other(format!("{done}, but its response is lost: {message}")),
            error => error,
        }
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (message, code) = match self {
            Self::Call(error) if matches!(error.code, Code::Unauthenticated | Code::PermissionDenied) => {
                (in_commands(&error.to_string()), NOT_ALLOWED)
            }
            Self::Call(error) => (in_commands(&error.to_string()), ERROR),
            Self::Usage(message) => (message.clone(), USAGE),
            Self::Unreachable(message) | Self::Other(message) => (message.clone(), ERROR),
        };
        // Line by line: text from the service must not reach the terminal unescaped.
        format!("error: {message}").lines().for_each(note);
        ExitCode::from(code)
    }
}

impl From<tokend_client::CallError> for CommandError {
    fn from(error: tokend_client::CallError) -> Self {
        Self::Call(error)
    }
}

impl From<tonic::Status> for CommandError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(status.into())
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Converts errors whose text is the message.
macro_rules! messages {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::Other(error.to_string())
            }
        })+
    };
}

messages!(
    std::io::Error,
    tokend_client::MalformedCallerKey,
    tokend_server::operator::keyring_file::KeyRingError,
    tokend_server::server::StartError,
    tokend_server::operator::installation::InstallError,
    tokend_server::operator::recovery::RecoverError,
    tokend_server::operator::restore::RestoreError,
    tokend_store::OpenError,
    tokend_store::StoreError,
    tokend_core::lease::TermsOutOfRange,
    tokend_server::limits::WaitTooLong,
    tokend_store::SetLeaseError,
    tokend_store::LowerLeaseError,
);
