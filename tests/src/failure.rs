use std::fmt::Debug;

use tokend_client::{CallError, v1::ErrorReason};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

/// Asserts that a call fails.
pub trait Refused {
    /// Returns the error after asserting its code, its reason, tokend's domain and that it has a message.
    ///
    /// # Panics
    /// If the call succeeds or fails otherwise.
    fn refused(self, code: Code, reason: ErrorReason) -> CallError;

    /// Returns the error after asserting that it names this field and no other.
    ///
    /// # Panics
    /// If the call succeeds or fails otherwise.
    fn refused_field(self, field: &str) -> CallError;
}

impl<T: Debug> Refused for Result<Response<T>, Status> {
    #[track_caller]
    fn refused(self, code: Code, reason: ErrorReason) -> CallError {
        refusal(&self.expect_err("the call fails"), code, reason)
    }

    #[track_caller]
    fn refused_field(self, field: &str) -> CallError {
        let failure = self.refused(Code::InvalidArgument, ErrorReason::InvalidField);
        let named: Vec<_> = failure
            .fields
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(named, [field], "{failure:#?}");
        assert!(!failure.fields[0].description.is_empty(), "{failure:#?}");
        failure
    }
}

/// Returns the error in a status after asserting its code, its reason, tokend's domain and that it has a message.
///
/// # Panics
/// If the status differs.
#[track_caller]
pub fn refusal(status: &Status, code: Code, reason: ErrorReason) -> CallError {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("the status has no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, tokend_proto::ERROR_DOMAIN, "{status:?}");
    let failure = CallError::from(status.clone());
    let expected = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    assert_eq!((failure.code, failure.reason.as_str()), (code, expected), "{status:?}");
    assert!(!failure.message.is_empty(), "{status:?}");
    failure
}
