//! Errors of calls.

use std::{error::Error, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::tls;

/// The error of a call that was rejected or failed, with the details of its status.
#[derive(Clone, Debug)]
pub struct CallError {
    /// The canonical code.
    pub code: Code,
    /// The stable reason: a value of `ErrorReason` without its prefix. Empty if the error is not from tokend, but from
    /// the connection or a proxy.
    pub reason: String,
    /// What was wrong and what to do about it, for people.
    pub message: String,
    /// The invalid fields.
    pub fields: Vec<FieldViolation>,
    /// The preconditions that do not hold, such as rules of a policy that a token would break.
    pub preconditions: Vec<PreconditionViolation>,
    /// How long to wait before a retry, if a retry may succeed.
    pub retry_after: Option<Duration>,
}

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, such as `scopes[1]`.
    pub field: String,
    /// What a valid value looks like.
    pub description: String,
}

/// A precondition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreconditionViolation {
    /// The kind of precondition. For policies, this is the field of the rule in `TokenPolicy`, such as `max_lifetime`.
    pub kind: String,
    /// The subject. For policies, this is the name of the policy, or the names of both, separated by a comma.
    pub subject: String,
    /// How to meet the precondition.
    pub description: String,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        // Without a reason, the status is not from tokend: the connection failed, and its source says why.
        let cause = status.source().filter(|_| reason.is_empty()).map(tls::cause);
        let preconditions = details
            .precondition_failure()
            .map(|failure| failure.violations.as_slice())
            .unwrap_or_default();
        let fields = details
            .bad_request()
            .map(|bad| bad.field_violations.as_slice())
            .unwrap_or_default();
        Self {
            code: status.code(),
            reason,
            message: cause.map_or_else(
                || status.message().to_owned(),
                |cause| format!("the connection failed during the call: {cause}"),
            ),
            fields: fields
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            preconditions: preconditions
                .iter()
                .map(|violation| PreconditionViolation {
                    kind: violation.r#type.clone(),
                    subject: violation.subject.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        // The message already has the first one.
        self.fields
            .iter()
            .skip(1)
            .try_for_each(|field| write!(f, "\n  {} {}", field.field, field.description))?;
        self.preconditions
            .iter()
            .skip(1)
            .try_for_each(|broken| write!(f, "\n  {}: {}", broken.subject, broken.description))
    }
}

impl Error for CallError {}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_broken_precondition_is_shown_once() {
        let mut details = ErrorDetails::with_error_info("POLICY_VIOLATED", "tokend", []);
        let policy = "workspaces/acme/tokenPolicy";
        details.add_precondition_failure_violation("require_expiry", policy, "choose an end");
        details.add_precondition_failure_violation("allowed_scopes", policy, "choose among repository");
        let message = format!("{policy} does not allow it: choose an end");
        let error = CallError::from(Status::with_error_details(Code::FailedPrecondition, &message, details));
        assert_eq!(
            error
                .preconditions
                .iter()
                .map(|broken| broken.kind.as_str())
                .collect::<Vec<_>>(),
            ["require_expiry", "allowed_scopes"]
        );
        assert_eq!(
            error.to_string(),
            format!("{message} (POLICY_VIOLATED)\n  {policy}: choose among repository")
        );
    }
}
