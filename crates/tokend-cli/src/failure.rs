//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use tokend_client::ConnectError;
use tonic::Code;

use crate::{client::commands::in_commands, terminal::note};

/// Exit code of any error that has no code of its own.
const ERROR: u8 = 1;
/// Exit code of a command line that makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Exit code of a verdict that is no.
pub(crate) const DENY: u8 = 3;
/// Exit code of a caller that is not authenticated or not allowed.
const NOT_ALLOWED: u8 = 4;

/// Why a command failed: a sentence for people.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service refused the call or failed.
    Call(tokend_client::Failure),
    /// The service can't be reached.
    Unreachable(String),
    /// The command line makes no sense.
    Usage(String),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// The same failure, of a command that has changed something by then: `done` says what, such as "callers/gate is deleted".
    pub(crate) fn after(self, done: &str) -> Self {
        match self {
            Self::Other(sentence) => Self::Other(format!("{done}, but the answer is lost: {sentence}")),
            failure => failure,
        }
    }

    /// Prints the sentence and tells the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (sentence, code) = match self {
            Self::Call(failure) if matches!(failure.code, Code::Unauthenticated | Code::PermissionDenied) => {
                (in_commands(&failure.to_string()), NOT_ALLOWED)
            }
            Self::Call(failure) => (in_commands(&failure.to_string()), ERROR),
            Self::Usage(sentence) => (sentence.clone(), USAGE),
            Self::Unreachable(sentence) | Self::Other(sentence) => (sentence.clone(), ERROR),
        };
        // A line at a time: what the service says may not reach the terminal unescaped.
        format!("error: {sentence}").lines().for_each(note);
        ExitCode::from(code)
    }
}

impl From<tokend_client::Failure> for Failure {
    fn from(failure: tokend_client::Failure) -> Self {
        Self::Call(failure)
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Call(status.into())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Errors whose text is the sentence.
macro_rules! sentences {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Other(error.to_string())
            }
        })+
    };
}

sentences!(
    std::io::Error,
    tokend_client::MalformedCallerKey,
    tokend_server::keyring_file::KeyRingError,
    tokend_server::server::StartError,
    tokend_server::installation::InstallError,
    tokend_server::recovery::RecoverError,
    tokend_server::restore::RestoreError,
    tokend_store::OpenError,
    tokend_store::StoreError,
);
