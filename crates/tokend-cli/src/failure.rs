//! Why a command failed, and the exit code that says so.

use std::{borrow::Cow, process::ExitCode};

use tokend_client::ConnectError;
use tokend_core::credential::without_secrets;
use tonic::Code;

use crate::terminal::note;

/// Exit code of any error that has no code of its own.
const ERROR: u8 = 1;
/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;
/// Exit code of a verdict that is no.
pub(crate) const DENY: u8 = 3;
/// Exit code of a caller that is not authenticated or not allowed.
const NOT_ALLOWED: u8 = 4;

/// Why a command failed: a sentence for people.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service refused the call or failed.
    Call(tokend_client::Failure),
    /// The command line makes no sense.
    Usage(String),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Prints the sentence and tells the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (sentence, code) = match self {
            Self::Call(failure) if matches!(failure.code, Code::Unauthenticated | Code::PermissionDenied) => {
                (failure.to_string(), NOT_ALLOWED)
            }
            Self::Call(failure) => (failure.to_string(), ERROR),
            Self::Usage(sentence) => (sentence.clone(), USAGE),
            Self::Other(sentence) => (sentence.clone(), ERROR),
        };
        // A line at a time: what the service says may not reach the terminal unescaped.
        format!("error: {sentence}").lines().for_each(note);
        ExitCode::from(code)
    }
}

/// Prints what clap says of a command line, and returns its exit code. A secret that was given in place of something else is cut: whoever keeps
/// a command's output would keep it.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match without_secrets(&error.render().to_string()) {
        // Nobody may be listening.
        Cow::Borrowed(_) => error.print().unwrap_or_default(),
        Cow::Owned(text) => text.lines().for_each(note),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
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
    ConnectError,
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
