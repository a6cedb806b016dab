//! The table of errors: which code, reason and details each [`ServiceError`] has for a client. It knows no transport;
//! `grpc` renders a row as a status.
//!
//! To add an error, add a variant to [`ServiceError`] and a row here. The compiler asks for the row.

use std::time::Duration;

use tokend_proto::v1::ErrorReason as Reason;
use tokend_store::StoreError;

use super::{PolicyViolation, ServiceError};

/// The time after which a client should retry while the database does not answer or the server is full.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a client learns about an error.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) code: Code,
    pub(crate) reason: Reason,
    pub(crate) text: Text,
    pub(crate) details: Vec<Detail>,
    pub(crate) retry_after: Option<Duration>,
}

/// The kind of an error: a canonical code of gRPC, each of which also has a status of HTTP
/// (`google.rpc.Code` in googleapis).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

/// The sentence for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// It says what is wrong and what to do.
    Public(String),
    /// The error says something about the inside of the service: only the log has it, under an id that the client gets.
    Internal,
}

/// One more fact about an error, for programs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// A field of the request is wrong.
    Field { field: String, description: String },
    /// The state of the resource `subject` does not allow the call.
    Precondition {
        kind: &'static str,
        subject: String,
        description: String,
    },
    /// The resource `subject` has as much of something as it may have.
    Quota { subject: String, description: String },
}

impl ServiceError {
    /// Returns the error's row.
    pub(crate) fn describe(&self) -> Description {
        let row = |code, reason| Description::new(code, reason, self.to_string());
        match self {
            Self::InvalidFields(violations) => {
                let fields = violations.as_slice().iter().map(|violation| Detail::Field {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                });
                row(Code::InvalidArgument, Reason::InvalidField).with(fields)
            }
            Self::InvalidActor(_) => row(Code::InvalidArgument, Reason::InvalidActor),
            Self::MissingCredential => row(Code::Unauthenticated, Reason::MissingCredential),
            Self::InvalidCredential => row(Code::Unauthenticated, Reason::InvalidCredential),
            Self::CertificateOfNobody => row(Code::Unauthenticated, Reason::InvalidCredential),
            Self::CertificateOfSeveral => row(Code::Unauthenticated, Reason::InvalidCredential),
            Self::CertificateExpired => row(Code::Unauthenticated, Reason::InvalidCredential),
            Self::CredentialsDisagree => row(Code::Unauthenticated, Reason::CredentialsDisagree),
            Self::TooManyFailedAuthentications { wait } => {
                row(Code::ResourceExhausted, Reason::TooManyFailedAuthentications).retry_after(*wait)
            }
            Self::TooManyInFlight => row(Code::ResourceExhausted, Reason::TooManyInFlight).retry_after(RETRY_DELAY),
            Self::Overloaded => row(Code::Unavailable, Reason::Overloaded).retry_after(RETRY_DELAY),
            Self::DeadlineExceeded => row(Code::DeadlineExceeded, Reason::DeadlineExceeded),
            Self::MessageTooLate { within: _ } => row(Code::DeadlineExceeded, Reason::DeadlineExceeded),
            Self::MessageTooLarge { length: _, most: _ } => row(Code::ResourceExhausted, Reason::MessageTooLarge),
            Self::EncodingNotServed(_) => row(Code::Unimplemented, Reason::EncodingNotServed),
            Self::RoleNotAllowed { caller: _, method: _ } => row(Code::PermissionDenied, Reason::RoleNotAllowed),
            Self::UnknownMethod(_) => row(Code::Unimplemented, Reason::UnknownMethod),
            Self::NotServed(_) => row(Code::NotFound, Reason::NotServed),

            Self::WorkspaceNotFound(_) => row(Code::NotFound, Reason::WorkspaceNotFound),
            Self::TokenNotFound(_) => row(Code::NotFound, Reason::TokenNotFound),
            Self::SecretUnknown => row(Code::NotFound, Reason::TokenNotFound),
            Self::SecretIsACallerKey => row(Code::InvalidArgument, Reason::SecretIsACallerKey).of_field("secret"),
            Self::CallerNotFound(_) => row(Code::NotFound, Reason::CallerNotFound),
            Self::CallerKeyNotFound(_) => row(Code::NotFound, Reason::CallerKeyNotFound),
            Self::OrganizationNotFound(_) => row(Code::NotFound, Reason::OrganizationNotFound),
            Self::WorkspaceAlreadyExists(_) => row(Code::AlreadyExists, Reason::WorkspaceAlreadyExists),
            Self::OrganizationAlreadyExists(_) => row(Code::AlreadyExists, Reason::OrganizationAlreadyExists),
            Self::CallerAlreadyExists(_) => row(Code::AlreadyExists, Reason::CallerAlreadyExists),
            Self::CertificateSanTaken(_) => {
                row(Code::AlreadyExists, Reason::CertificateSanTaken).of_field("certificate_sans")
            }
            Self::LastAdmin(_) => row(Code::FailedPrecondition, Reason::LastAdmin),
            Self::TooManyCallerKeys(caller) => row(Code::ResourceExhausted, Reason::TooManyCallerKeys).with_quota(
                caller.name(),
                "two keys are active already; revoke one first".to_owned(),
            ),

            Self::TokenRevoked(_) => row(Code::FailedPrecondition, Reason::TokenRevoked),
            Self::TokenAlreadyRotated { name: _, successor } => {
                row(Code::FailedPrecondition, Reason::TokenAlreadyRotated).with([Detail::Precondition {
                    kind: ROTATED_TO,
                    subject: successor.to_string(),
                    description: "rotate this token instead".to_owned(),
                }])
            }
            Self::SuccessorRevoked { name: _, successor } => row(Code::FailedPrecondition, Reason::TokenAlreadyRotated)
                .with([Detail::Precondition {
                    kind: ROTATED_TO,
                    subject: successor.to_string(),
                    description: "create a new token instead".to_owned(),
                }]),
            Self::WorkspaceSuspended(_) => row(Code::FailedPrecondition, Reason::WorkspaceSuspended),
            Self::WorkspaceDeleted(_) => row(Code::FailedPrecondition, Reason::WorkspaceDeleted),
            Self::PolicyViolated(violations) => {
                let preconditions =
                    violations
                        .iter()
                        .map(|PolicyViolation { rule, policy, remedy }| Detail::Precondition {
                            kind: rule,
                            subject: policy.clone(),
                            description: remedy.clone(),
                        });
                row(Code::FailedPrecondition, Reason::PolicyViolated).with(preconditions)
            }
            Self::TooManyActiveTokens {
                workspace: _,
                most,
                policy,
            } => row(Code::ResourceExhausted, Reason::TooManyActiveTokens).with_quota(
                policy.clone(),
                format!("max_active_tokens is {most}, and as many are active already"),
            ),
            Self::EtagMismatch(_) => row(Code::Aborted, Reason::EtagMismatch),
            Self::RequestIdReused(_) => row(Code::InvalidArgument, Reason::RequestIdReused).of_field("request_id"),
            Self::AuditPositionGone {
                after: _,
                oldest: _,
                last: _,
            } => row(Code::OutOfRange, Reason::AuditPositionGone),
            Self::RevisionNotReached => row(Code::Unavailable, Reason::StorageUnavailable).retry_after(RETRY_DELAY),
            Self::KeyNotAtHand(_) => row(Code::Unavailable, Reason::KeyNotAtHand).retry_after(RETRY_DELAY),

            Self::NoRandomness(_) => row(Code::Internal, Reason::InternalFault).internal(),
            Self::IdTaken(_) => row(Code::Internal, Reason::InternalFault).internal(),
            Self::Storage(error) => match error {
                StoreError::Unavailable { source: _ } => row(Code::Unavailable, Reason::StorageUnavailable)
                    .saying("the database does not answer; retry")
                    .retry_after(RETRY_DELAY),
                StoreError::Overloaded => row(Code::Unavailable, Reason::Overloaded).retry_after(RETRY_DELAY),
                StoreError::WrongKeys { problem: _ } => row(Code::Unavailable, Reason::KeyNotAtHand)
                    .saying("this server's key ring is not up to date; retry")
                    .retry_after(RETRY_DELAY),
                StoreError::Corrupt { .. } => row(Code::Internal, Reason::InternalFault).internal(),
                StoreError::Tampered { .. } => row(Code::Internal, Reason::InternalFault).internal(),
                StoreError::Refused { .. } => row(Code::Internal, Reason::InternalFault).internal(),
            },
        }
    }
}

/// The kind of precondition that names the token which replaced another.
const ROTATED_TO: &str = "ROTATED_TO";

impl Description {
    fn new(code: Code, reason: Reason, text: String) -> Self {
        Self {
            code,
            reason,
            text: Text::Public(text),
            details: Vec::new(),
            retry_after: None,
        }
    }

    fn with(self, details: impl IntoIterator<Item = Detail>) -> Self {
        Self {
            details: details.into_iter().collect(),
            ..self
        }
    }

    /// Adds that the sentence is about this field.
    fn of_field(self, field: &str) -> Self {
        let description = match &self.text {
            Text::Public(text) => text.clone(),
            Text::Internal => String::new(),
        };
        self.with([Detail::Field {
            field: field.to_owned(),
            description,
        }])
    }

    fn with_quota(self, subject: String, description: String) -> Self {
        self.with([Detail::Quota { subject, description }])
    }

    fn retry_after(self, delay: Duration) -> Self {
        Self {
            retry_after: Some(delay),
            ..self
        }
    }

    /// Replaces the error's own sentence, which says too much or too little.
    fn saying(self, text: &str) -> Self {
        Self {
            text: Text::Public(text.to_owned()),
            ..self
        }
    }

    fn internal(self) -> Self {
        Self {
            text: Text::Internal,
            ..self
        }
    }
}
