//! Reattempts for commands that make many calls: they outlast a server that restarts, or a database that is briefly
//! busy.

use std::time::Duration;

use tokend_client::CallError;
use tonic::{Code, Response, Status};

/// Attempts before a call is given up.
const ATTEMPTS: u32 = 10;
/// The pause between attempts, unless the service asks for another one.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes a call that is safe to repeat, until it succeeds, fails permanently, or has failed too often. Before each
/// further attempt, `on_retry` gets the error of the last one.
///
/// # Errors
/// The error of the last attempt.
pub(super) async fn call_with_retries<A>(
    mut call: impl AsyncFnMut() -> Result<Response<A>, Status>,
    mut on_retry: impl FnMut(&CallError),
) -> Result<A, CallError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error: CallError = match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status.into(),
        };
        if attempts == ATTEMPTS || !is_transient(&error) {
            return Err(error);
        }
        on_retry(&error);
        tokio::time::sleep(error.retry_after.unwrap_or(PAUSE)).await;
    }
}

/// Returns whether a later attempt may succeed: the service says so, the call ran out of time, or the connection to the
/// service failed.
fn is_transient(error: &CallError) -> bool {
    error.retry_after.is_some() || error.code == Code::DeadlineExceeded || error.reason.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_error(code: Code, reason: &str, retry_after: Option<Duration>) -> CallError {
        CallError {
            code,
            reason: reason.to_owned(),
            message: String::new(),
            fields: Vec::new(),
            preconditions: Vec::new(),
            retry_after,
        }
    }

    #[test]
    fn permanent_errors_are_not_retried() {
        assert!(!is_transient(&call_error(Code::InvalidArgument, "INVALID_FIELD", None)));
        assert!(!is_transient(&call_error(Code::Internal, "INTERNAL_FAULT", None)));
        assert!(is_transient(&call_error(
            Code::Unavailable,
            "STORAGE_UNAVAILABLE",
            Some(PAUSE)
        )));
        assert!(is_transient(&call_error(
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            None
        )));
        assert!(
            is_transient(&call_error(Code::Unknown, "", None)),
            "the connection broke"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_are_retried_a_limited_number_of_times() {
        let outcome_after = async |failures: u32| {
            let (mut calls, mut retries) = (0, 0);
            let call = async || {
                calls += 1;
                if calls > failures {
                    Ok(Response::new(()))
                } else {
                    Err(Status::unavailable(""))
                }
            };
            let outcome = call_with_retries(call, |_| retries += 1).await.is_ok();
            (outcome, calls, retries)
        };
        assert_eq!(outcome_after(0).await, (true, 1, 0));
        assert_eq!(outcome_after(3).await, (true, 4, 3));
        assert_eq!(outcome_after(ATTEMPTS).await, (false, ATTEMPTS, ATTEMPTS - 1));
    }
}
