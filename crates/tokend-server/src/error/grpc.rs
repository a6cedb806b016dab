//! A [`ServiceError`] becomes a gRPC status here and nowhere else.

use std::collections::HashMap;

use tokend_proto::{ERROR_DOMAIN, v1::ErrorReason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    ServiceError,
    table::{self, Description, Detail, Text},
};
use crate::observability::request_span;

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let Description {
            code,
            reason,
            text,
            details,
            retry_after,
        } = error.describe();
        let text = match text {
            Text::Public(text) => text,
            Text::Internal => {
                let id = error.logged_under();
                request_span::record_fault(&id);
                return internal_fault(&id);
            }
        };
        let mut rendered = details_of(reason);
        for detail in details {
            match detail {
                Detail::Field { field, description } => rendered.add_bad_request_violation(field, description),
                Detail::Precondition {
                    kind,
                    subject,
                    description,
                } => rendered.add_precondition_failure_violation(kind, subject, description),
                Detail::Quota { subject, description } => rendered.add_quota_failure_violation(subject, description),
            };
        }
        if retry_after.is_some() {
            rendered.set_retry_info(retry_after);
        }
        Self::with_error_details(code.into(), text, rendered)
    }
}

impl From<table::Code> for Code {
    fn from(code: table::Code) -> Self {
        match code {
            table::Code::InvalidArgument => Self::InvalidArgument,
            table::Code::DeadlineExceeded => Self::DeadlineExceeded,
            table::Code::NotFound => Self::NotFound,
            table::Code::AlreadyExists => Self::AlreadyExists,
            table::Code::PermissionDenied => Self::PermissionDenied,
            table::Code::ResourceExhausted => Self::ResourceExhausted,
            table::Code::FailedPrecondition => Self::FailedPrecondition,
            table::Code::Aborted => Self::Aborted,
            table::Code::OutOfRange => Self::OutOfRange,
            table::Code::Unimplemented => Self::Unimplemented,
            table::Code::Internal => Self::Internal,
            table::Code::Unavailable => Self::Unavailable,
            table::Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

/// Returns a status without details but its reason.
pub(crate) fn status(code: Code, reason: ErrorReason, message: String) -> Status {
    Status::with_error_details(code, message, details_of(reason))
}

/// Returns the status of a fault that the log has under this id. It says nothing else.
pub(crate) fn internal_fault(id: &str) -> Status {
    let mut details = details_of(ErrorReason::InternalFault);
    details.set_request_info(id, "");
    Status::with_error_details(
        Code::Internal,
        format!("internal error; the log of the service has more under {id}"),
        details,
    )
}

fn details_of(reason: ErrorReason) -> ErrorDetails {
    let name = reason.as_str_name();
    ErrorDetails::with_error_info(
        name.strip_prefix("ERROR_REASON_").unwrap_or(name),
        ERROR_DOMAIN,
        HashMap::new(),
    )
}
