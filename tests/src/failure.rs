use std::fmt::Debug;

use tokend_client::{Failure, v1::ErrorReason};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

/// What a test says of a call that has to fail.
pub trait Refused {
    /// The failure, if it has this code and this reason, tokend's domain and a message for people.
    ///
    /// # Panics
    /// If the call did anything else.
    fn refused(self, code: Code, reason: ErrorReason) -> Failure;

    /// The failure, if it names this one field and no other.
    ///
    /// # Panics
    /// If the call did anything else.
    fn refused_field(self, field: &str) -> Failure;
}

impl<T: Debug> Refused for Result<Response<T>, Status> {
    #[track_caller]
    fn refused(self, code: Code, reason: ErrorReason) -> Failure {
        refusal(&self.expect_err("the call fails"), code, reason)
    }

    #[track_caller]
    fn refused_field(self, field: &str) -> Failure {
        let failure = self.refused(Code::InvalidArgument, ErrorReason::InvalidField);
        let named: Vec<_> = failure.fields.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(named, [field], "{failure:#?}");
        assert!(!failure.fields[0].description.is_empty(), "{failure:#?}");
        failure
    }
}

/// The failure in a status, if it has this code and this reason, tokend's domain and a message for people.
///
/// # Panics
/// If it has not.
#[track_caller]
pub fn refusal(status: &Status, code: Code, reason: ErrorReason) -> Failure {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("the status has no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, tokend_proto::ERROR_DOMAIN, "{status:?}");
    let failure = Failure::from(status.clone());
    let expected = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    assert_eq!((failure.code, failure.reason.as_str()), (code, expected), "{status:?}");
    assert!(!failure.message.is_empty(), "{status:?}");
    failure
}
