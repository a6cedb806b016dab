//! The one place where a refusal becomes what the client gets: code, stable reason, details.

use std::{collections::HashMap, time::Duration};

use tokend_proto::{ERROR_DOMAIN, v1::ErrorReason};
use tokend_store::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::refusal::{BrokenRule, Refusal};

/// How long a client should wait before it retries while the database does not answer, or there is no room for its call.
const RETRY_DELAY: Duration = Duration::from_millis(500);

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = classify(&refusal);
        let details = details_of(reason);
        match &refusal {
            Refusal::InvalidFields(violations) => {
                let mut details = details;
                for violation in violations.as_slice() {
                    details.add_bad_request_violation(&violation.field, &violation.description);
                }
                Self::with_error_details(code, refusal.to_string(), details)
            }
            Refusal::RequestIdReused(_) => of_field(code, &refusal, "request_id", details),
            Refusal::CertificateSanTaken(_) => of_field(code, &refusal, "certificate_sans", details),
            Refusal::SecretIsACallerKey => of_field(code, &refusal, "secret", details),
            Refusal::Storage(StoreError::Unavailable { .. }) => {
                tracing::warn!(error = &refusal as &dyn std::error::Error, "the database does not answer");
                retry_later(code, "the database does not answer; retry".to_owned(), RETRY_DELAY, details)
            }
            Refusal::Storage(StoreError::WrongKeys { .. }) => {
                retry_later(code, "this server's key ring is not up to date; retry".to_owned(), RETRY_DELAY, details)
            }
            Refusal::RevisionNotReached
            | Refusal::KeyNotAtHand(_)
            | Refusal::TooManyInFlight
            | Refusal::Overloaded
            | Refusal::Storage(StoreError::Overloaded) => retry_later(code, refusal.to_string(), RETRY_DELAY, details),
            Refusal::TooManyFailedAuthentications { wait } => retry_later(code, refusal.to_string(), *wait, details),
            Refusal::TooManyCallerKeys(caller) => {
                let mut details = details;
                details.add_quota_failure_violation(caller.name(), "two keys work already; revoke one first");
                Self::with_error_details(code, refusal.to_string(), details)
            }
            Refusal::TokenAlreadyRotated { name: _, successor } => {
                let mut details = details;
                details.add_precondition_failure_violation("ROTATED_TO", successor.to_string(), "rotate this token instead");
                Self::with_error_details(code, refusal.to_string(), details)
            }
            Refusal::SuccessorRevoked { name: _, successor } => {
                let mut details = details;
                details.add_precondition_failure_violation("ROTATED_TO", successor.to_string(), "create a new token instead");
                Self::with_error_details(code, refusal.to_string(), details)
            }
            Refusal::PolicyViolated(broken) => {
                let mut details = details;
                for BrokenRule { rule, policy, remedy } in broken {
                    details.add_precondition_failure_violation(*rule, policy, remedy);
                }
                Self::with_error_details(code, refusal.to_string(), details)
            }
            Refusal::TooManyActiveTokens { workspace: _, most, policy } => {
                let mut details = details;
                details.add_quota_failure_violation(policy, format!("max_active_tokens is {most}, and as many work already"));
                Self::with_error_details(code, refusal.to_string(), details)
            }
            Refusal::Storage(_) | Refusal::NoRandomness(_) | Refusal::IdTaken(_) => internal_fault(&refusal),
            _ => Self::with_error_details(code, refusal.to_string(), details),
        }
    }
}

/// A status of `code` and `reason` with nothing more to tell.
pub(crate) fn status(code: Code, reason: ErrorReason, message: String) -> Status {
    Status::with_error_details(code, message, details_of(reason))
}

const fn classify(refusal: &Refusal) -> (Code, ErrorReason) {
    use ErrorReason as R;
    match refusal {
        Refusal::InvalidFields(_) => (Code::InvalidArgument, R::InvalidField),
        Refusal::InvalidActor(_) => (Code::InvalidArgument, R::InvalidActor),
        Refusal::MissingCredential => (Code::Unauthenticated, R::MissingCredential),
        Refusal::InvalidCredential => (Code::Unauthenticated, R::InvalidCredential),
        Refusal::TooManyFailedAuthentications { .. } => (Code::ResourceExhausted, R::TooManyFailedAuthentications),
        Refusal::TooManyInFlight => (Code::ResourceExhausted, R::TooManyInFlight),
        Refusal::Overloaded | Refusal::Storage(StoreError::Overloaded) => (Code::Unavailable, R::Overloaded),
        Refusal::DeadlineExceeded | Refusal::MessageTooLate { .. } => (Code::DeadlineExceeded, R::DeadlineExceeded),
        Refusal::MessageTooLarge { .. } => (Code::ResourceExhausted, R::MessageTooLarge),
        Refusal::EncodingNotServed(_) => (Code::Unimplemented, R::EncodingNotServed),
        Refusal::CertificateOfNobody | Refusal::CertificateOfSeveral | Refusal::CertificateExpired => {
            (Code::Unauthenticated, R::InvalidCredential)
        }
        Refusal::CredentialsDisagree => (Code::Unauthenticated, R::CredentialsDisagree),
        Refusal::RoleNotAllowed { .. } => (Code::PermissionDenied, R::RoleNotAllowed),
        Refusal::UnknownMethod(_) => (Code::Unimplemented, R::UnknownMethod),
        Refusal::NotServed(_) => (Code::NotFound, R::NotServed),
        Refusal::WorkspaceNotFound(_) => (Code::NotFound, R::WorkspaceNotFound),
        Refusal::TokenNotFound(_) | Refusal::SecretUnknown => (Code::NotFound, R::TokenNotFound),
        Refusal::TokenRevoked(_) => (Code::FailedPrecondition, R::TokenRevoked),
        Refusal::TokenAlreadyRotated { .. } | Refusal::SuccessorRevoked { .. } => {
            (Code::FailedPrecondition, R::TokenAlreadyRotated)
        }
        Refusal::SecretIsACallerKey => (Code::InvalidArgument, R::SecretIsACallerKey),
        Refusal::CallerNotFound(_) => (Code::NotFound, R::CallerNotFound),
        Refusal::CallerKeyNotFound(_) => (Code::NotFound, R::CallerKeyNotFound),
        Refusal::OrganizationNotFound(_) => (Code::NotFound, R::OrganizationNotFound),
        Refusal::WorkspaceAlreadyExists(_) => (Code::AlreadyExists, R::WorkspaceAlreadyExists),
        Refusal::OrganizationAlreadyExists(_) => (Code::AlreadyExists, R::OrganizationAlreadyExists),
        Refusal::CallerAlreadyExists(_) => (Code::AlreadyExists, R::CallerAlreadyExists),
        Refusal::LastAdmin(_) => (Code::FailedPrecondition, R::LastAdmin),
        Refusal::CertificateSanTaken(_) => (Code::AlreadyExists, R::CertificateSanTaken),
        Refusal::WorkspaceSuspended(_) => (Code::FailedPrecondition, R::WorkspaceSuspended),
        Refusal::WorkspaceDeleted(_) => (Code::FailedPrecondition, R::WorkspaceDeleted),
        Refusal::PolicyViolated(_) => (Code::FailedPrecondition, R::PolicyViolated),
        Refusal::TooManyActiveTokens { .. } => (Code::ResourceExhausted, R::TooManyActiveTokens),
        Refusal::EtagMismatch(_) => (Code::Aborted, R::EtagMismatch),
        Refusal::RequestIdReused(_) => (Code::InvalidArgument, R::RequestIdReused),
        Refusal::AuditPositionGone { .. } => (Code::OutOfRange, R::AuditPositionGone),
        Refusal::RevisionNotReached | Refusal::Storage(StoreError::Unavailable { .. }) => {
            (Code::Unavailable, R::StorageUnavailable)
        }
        Refusal::KeyNotAtHand(_) | Refusal::Storage(StoreError::WrongKeys { .. }) => (Code::Unavailable, R::KeyNotAtHand),
        Refusal::TooManyCallerKeys(_) => (Code::ResourceExhausted, R::TooManyCallerKeys),
        Refusal::Storage(_) | Refusal::NoRandomness(_) | Refusal::IdTaken(_) => (Code::Internal, R::InternalFault),
    }
}

fn of_field(code: Code, refusal: &Refusal, field: &str, mut details: ErrorDetails) -> Status {
    details.add_bad_request_violation(field, refusal.to_string());
    Status::with_error_details(code, refusal.to_string(), details)
}

fn retry_later(code: Code, message: String, after: Duration, mut details: ErrorDetails) -> Status {
    details.set_retry_info(Some(after));
    Status::with_error_details(code, message, details)
}

/// The client learns an id, the log the fault.
fn internal_fault(refusal: &Refusal) -> Status {
    let request_id = Uuid::now_v7().to_string();
    tracing::error!(request_id, error = refusal as &dyn std::error::Error, "internal fault");
    fault_logged_under(&request_id)
}

/// What a client is told of a fault that the log has more about.
pub(crate) fn fault_logged_under(request_id: &str) -> Status {
    let mut details = details_of(ErrorReason::InternalFault);
    details.set_request_info(request_id, "");
    Status::with_error_details(Code::Internal, format!("a fault of the service; its log has more under {request_id}"), details)
}

fn details_of(reason: ErrorReason) -> ErrorDetails {
    let name = reason.as_str_name();
    ErrorDetails::with_error_info(name.strip_prefix("ERROR_REASON_").unwrap_or(name), ERROR_DOMAIN, HashMap::new())
}
