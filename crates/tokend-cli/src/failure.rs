//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use tokend_client::ConnectError;
use tonic::Code;

/// Exit code of any error that has no code of its own.
const ERROR: u8 = 1;
/// Exit code of a verdict that is no.
pub(crate) const DENY: u8 = 3;
/// Exit code of a caller that is not authenticated or not allowed.
const NOT_ALLOWED: u8 = 4;

/// Why a command failed: a sentence for people.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service refused the call or failed.
    Call(tokend_client::Failure),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Prints the sentence and tells the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let code = match self {
            Self::Call(failure) => {
                eprintln!("error: {failure}");
                if matches!(failure.code, Code::Unauthenticated | Code::PermissionDenied) { NOT_ALLOWED } else { ERROR }
            }
            Self::Other(sentence) => {
                eprintln!("error: {sentence}");
                ERROR
            }
        };
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
    tokend_store::OpenError,
);
