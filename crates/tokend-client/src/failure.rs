use std::{error::Error, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::tls;

/// A refused or failed call, with its details taken out of the status.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The canonical code.
    pub code: Code,
    /// The stable reason, a name of `ErrorReason` without its prefix. Empty if something in between answered instead of tokend.
    pub reason: String,
    /// What was wrong and what to do, for people.
    pub message: String,
    /// The fields that did not fit.
    pub fields: Vec<FieldFailure>,
    /// What the state of things does not let happen, such as rules of a policy that a token would break.
    pub preconditions: Vec<PreconditionFailure>,
    /// How long to wait before a retry, where one helps.
    pub retry_after: Option<Duration>,
}

/// A field that did not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFailure {
    /// Its path, such as `scopes[1]`.
    pub field: String,
    /// What would be right.
    pub description: String,
}

/// A condition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreconditionFailure {
    /// Of what kind it is: of policies, the rule's field in `TokenPolicy`, such as `max_lifetime`.
    pub kind: String,
    /// What it is about: of policies, the name of the policy, or of both with a comma between.
    pub subject: String,
    /// What to do.
    pub description: String,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        // Without a reason it is not tokend's: the connection failed, and the status says no more than that it did.
        let cause = status.source().filter(|_| reason.is_empty()).map(tls::cause);
        let preconditions = details.precondition_failure().map(|failed| failed.violations.as_slice()).unwrap_or_default();
        let fields = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        Self {
            code: status.code(),
            reason,
            message: cause.map_or_else(|| status.message().to_owned(), |cause| format!("the call failed on its way: {cause}")),
            fields: fields
                .iter()
                .map(|violation| FieldFailure { field: violation.field.clone(), description: violation.description.clone() })
                .collect(),
            preconditions: preconditions
                .iter()
                .map(|violation| PreconditionFailure {
                    kind: violation.r#type.clone(),
                    subject: violation.subject.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        // The message tells the first of them already.
        self.fields.iter().skip(1).try_for_each(|field| write!(f, "\n  {} {}", field.field, field.description))?;
        self.preconditions.iter().skip(1).try_for_each(|failed| write!(f, "\n  {}: {}", failed.subject, failed.description))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_condition_that_did_not_hold_is_shown_once() {
        let mut details = ErrorDetails::with_error_info("POLICY_VIOLATED", "tokend", []);
        let policy = "workspaces/acme/tokenPolicy";
        details.add_precondition_failure_violation("require_expiry", policy, "choose an end");
        details.add_precondition_failure_violation("allowed_scopes", policy, "choose among repository");
        let message = format!("{policy} does not allow it: choose an end");
        let failure = Failure::from(Status::with_error_details(Code::FailedPrecondition, &message, details));
        assert_eq!(
            failure.preconditions.iter().map(|failed| failed.kind.as_str()).collect::<Vec<_>>(),
            ["require_expiry", "allowed_scopes"]
        );
        assert_eq!(failure.to_string(), format!("{message} (POLICY_VIOLATED)\n  {policy}: choose among repository"));
    }
}
