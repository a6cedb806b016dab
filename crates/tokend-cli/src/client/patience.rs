//! Commands that make many calls outlast what passes: a server that restarts, a database that is busy for a moment.

use std::time::Duration;

use tokend_client::Failure;
use tonic::{Code, Response, Status};

/// Tries in a row before a call is given up.
const TRIES: u32 = 10;
/// The pause before each but the first, where the service does not ask for another.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes a call that is safe to repeat until it succeeds, fails in a way that lasts, or has failed too often. `on_failure` is told what it
/// repeats the call after.
///
/// # Errors
/// The last try's.
pub(super) async fn call_patiently<A>(
    mut call: impl AsyncFnMut() -> Result<Response<A>, Status>,
    mut on_failure: impl FnMut(&Failure),
) -> Result<A, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let failure: Failure = match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status.into(),
        };
        if tries == TRIES || !may_pass(&failure) {
            return Err(failure);
        }
        on_failure(&failure);
        tokio::time::sleep(failure.retry_after.unwrap_or(PAUSE)).await;
    }
}

/// Whether the same may succeed later: the service says so or had no time for it, or something between it and here has failed.
fn may_pass(failure: &Failure) -> bool {
    failure.retry_after.is_some() || failure.code == Code::DeadlineExceeded || failure.reason.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, reason: &str, retry_after: Option<Duration>) -> Failure {
        Failure {
            code,
            reason: reason.to_owned(),
            message: String::new(),
            fields: Vec::new(),
            preconditions: Vec::new(),
            retry_after,
        }
    }

    #[test]
    fn what_lasts_is_not_tried_again() {
        assert!(!may_pass(&failure(Code::InvalidArgument, "INVALID_FIELD", None)));
        assert!(!may_pass(&failure(Code::Internal, "INTERNAL_FAULT", None)));
        assert!(may_pass(&failure(Code::Unavailable, "STORAGE_UNAVAILABLE", Some(PAUSE))));
        assert!(may_pass(&failure(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", None)));
        assert!(may_pass(&failure(Code::Unknown, "", None)), "the connection broke");
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_outlasted_and_what_does_not_is_given_up() {
        let outcome_after = async |failures: u32| {
            let (mut calls, mut told) = (0, 0);
            let call = async || {
                calls += 1;
                if calls > failures { Ok(Response::new(())) } else { Err(Status::unavailable("")) }
            };
            let outcome = call_patiently(call, |_| told += 1).await.is_ok();
            (outcome, calls, told)
        };
        assert_eq!(outcome_after(0).await, (true, 1, 0));
        assert_eq!(outcome_after(3).await, (true, 4, 3));
        assert_eq!(outcome_after(TRIES).await, (false, TRIES, TRIES - 1));
    }
}
