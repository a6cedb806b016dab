//! Bulk revocation: as many calls as needed, each of which revokes a bounded number of tokens.

use std::collections::VecDeque;

use tokend_client::{
    CallError,
    v1::{BatchRevokeTokensRequest, BatchRevokeTokensResponse},
};
use tokend_core::text::quoted;
use tonic::{Code, Response, Status};

use crate::{
    client::{
        output::{first_shown, tokens_in_words},
        retry::call_with_retries,
    },
    command_error::CommandError,
    progress::Progress,
    terminal::note,
};

/// Tokens shown at the end: at most as many as the service returns from one call.
const MAX_SHOWN: usize = 1_000;

/// Repeats each request until no tokens are left to revoke, and prints the progress. Returns the combined response: the
/// sums, and the tokens that were revoked first. If it fails, it prints how many tokens have been revoked.
///
/// # Errors
/// A call that failed permanently, or Ctrl-C.
pub(super) async fn revoke(
    requests: Vec<BatchRevokeTokensRequest>,
    call: impl AsyncFnMut(BatchRevokeTokensRequest) -> Result<Response<BatchRevokeTokensResponse>, Status>,
) -> Result<BatchRevokeTokensResponse, CommandError> {
    let is_dry_run = requests.iter().all(|request| request.validate_only);
    let mut total = BatchRevokeTokensResponse::default();
    let outcome = tokio::select! {
        outcome = repeat(requests, call, &mut total) => outcome,
        _ = tokio::signal::ctrl_c() => Err(CommandError::Other("interrupted".to_owned())),
    };
    match outcome {
        Ok(()) => Ok(total),
        Err(error) => {
            if !is_dry_run && (total.revoked_count > 0 || may_have_revoked_some(&error)) {
                note(&progress_on_error(&total));
            }
            Err(error)
        }
    }
}

/// Prints how many tokens there were, and whether all of them are shown.
pub(super) fn note_outcome(total: &BatchRevokeTokensResponse, is_dry_run: bool) {
    let count = i64::from(total.revoked_count) + i64::from(total.remaining_count);
    let (tokens, shown) = (tokens_in_words(count), first_shown(total.tokens.len(), count));
    if is_dry_run {
        note(&format!("This would revoke {tokens}{shown}. Nothing was revoked."));
    } else {
        note(&format!("Revoked {tokens}{shown}."));
    }
}

async fn repeat(
    requests: Vec<BatchRevokeTokensRequest>,
    mut call: impl AsyncFnMut(BatchRevokeTokensRequest) -> Result<Response<BatchRevokeTokensResponse>, Status>,
    total: &mut BatchRevokeTokensResponse,
) -> Result<(), CommandError> {
    let (mut progress, mut left_before) = (Progress::on_stderr(), i32::MAX);
    let mut pending = VecDeque::from(requests);
    while let Some(request) = pending.front() {
        let on_retry = |error: &CallError| progress.show(&format!("Retrying after an error: {error}"));
        let answer = call_with_retries(async || call(request.clone()).await, on_retry).await;
        let answer = answer.map_err(|error| with_names(error, &request.names))?;
        let (revoked, left, is_dry_run) = (answer.revoked_count, answer.remaining_count, request.validate_only);
        add(total, answer, is_dry_run);
        if is_dry_run || left == 0 {
            pending.pop_front();
            left_before = i32::MAX;
        } else if revoked == 0 && left >= left_before {
            // Other callers that revoke the same tokens make fewer of them, never more.
            return Err(CommandError::Other(format!(
                "the service reports {left} tokens left, but revokes none of them"
            )));
        } else {
            left_before = left;
        }
        if !is_dry_run && !pending.is_empty() {
            progress.show(&in_words(total));
        }
    }
    Ok(())
}

/// Replaces the index of a name in the call with the name itself: the index does not match the command line.
fn with_names(mut error: CallError, names: &[String]) -> CallError {
    for (index, name) in names.iter().enumerate() {
        let (field, name) = (format!("names[{index}]"), quoted(name).to_string());
        error.message = error.message.replace(&field, &name);
        for violation in error.fields.iter_mut().filter(|violation| violation.field == field) {
            violation.field.clone_from(&name);
        }
    }
    error
}

/// Adds a response to the total. The last response says how many tokens are left; only in a dry run, which revokes
/// nothing, do these numbers add up.
fn add(total: &mut BatchRevokeTokensResponse, answer: BatchRevokeTokensResponse, is_dry_run: bool) {
    let BatchRevokeTokensResponse {
        revoked_count,
        remaining_count,
        tokens,
        revision,
    } = answer;
    // Only while the list has no gaps: every token revoked so far is in it.
    if usize::try_from(total.revoked_count) == Ok(total.tokens.len()) {
        let room = MAX_SHOWN.saturating_sub(total.tokens.len());
        total.tokens.extend(tokens.into_iter().take(room));
    }
    total.revoked_count = total.revoked_count.saturating_add(revoked_count);
    total.remaining_count = if is_dry_run {
        total.remaining_count.saturating_add(remaining_count)
    } else {
        remaining_count
    };
    total.revision = revision.or(total.revision);
}

/// Returns whether the failed call may have revoked tokens: it was not rejected beforehand.
fn may_have_revoked_some(error: &CommandError) -> bool {
    use Code::{InvalidArgument, NotFound, PermissionDenied, Unauthenticated};
    match error {
        CommandError::Call(error) => !matches!(
            error.code,
            InvalidArgument | NotFound | PermissionDenied | Unauthenticated
        ),
        CommandError::Unreachable(_) => false,
        CommandError::Usage(_) | CommandError::Other(_) => true,
    }
}

fn progress_on_error(total: &BatchRevokeTokensResponse) -> String {
    format!(
        "{}, and perhaps more by the call that failed. Run the same command again to continue; revoked tokens stay \
         revoked.",
        in_words(total)
    )
}

fn in_words(total: &BatchRevokeTokensResponse) -> String {
    let revoked = tokens_in_words(total.revoked_count.into());
    match total.remaining_count {
        0 => format!("{revoked} revoked so far"),
        left => format!("{revoked} revoked so far, {left} left"),
    }
}

#[cfg(test)]
mod tests {
    use tokend_client::{FieldViolation, v1::Token};

    use super::*;

    /// A service that revokes at most two tokens in a call.
    struct Service {
        left: i32,
        calls: u32,
    }

    impl Service {
        fn answer(&mut self, request: &BatchRevokeTokensRequest) -> BatchRevokeTokensResponse {
            let revoked = self.left.min(2);
            let tokens = (0..revoked)
                .map(|index| Token {
                    name: format!("{}", self.left - index),
                    ..Default::default()
                })
                .collect();
            let remaining_count = self.left - revoked;
            self.calls += 1;
            self.left = if request.validate_only {
                self.left
            } else {
                remaining_count
            };
            BatchRevokeTokensResponse {
                revoked_count: revoked,
                remaining_count,
                tokens,
                revision: None,
            }
        }
    }

    fn request(validate_only: bool) -> BatchRevokeTokensRequest {
        BatchRevokeTokensRequest {
            validate_only,
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn calls_are_repeated_until_nothing_is_left() {
        let mut service = Service { left: 5, calls: 0 };
        let total = revoke(vec![request(false)], async |request| {
            Ok(Response::new(service.answer(&request)))
        })
        .await
        .expect("revoked");
        assert_eq!((total.revoked_count, total.remaining_count, service.calls), (5, 0, 3));
        let names: Vec<_> = total.tokens.iter().map(|token| token.name.as_str()).collect();
        assert_eq!(names, ["5", "4", "3", "2", "1"]);
    }

    #[tokio::test]
    async fn a_dry_run_makes_one_call_for_each_request() {
        let mut service = Service { left: 5, calls: 0 };
        let requests = vec![request(true), request(true)];
        let total = revoke(requests, async |request| Ok(Response::new(service.answer(&request))))
            .await
            .expect("previewed");
        assert_eq!((total.revoked_count, total.remaining_count, service.calls), (4, 6, 2));
    }

    #[tokio::test]
    async fn a_service_that_makes_no_progress_is_given_up() {
        let mut calls = 0;
        let stuck = async |_| {
            calls += 1;
            Ok(Response::new(BatchRevokeTokensResponse {
                remaining_count: 3,
                ..Default::default()
            }))
        };
        assert!(matches!(
            revoke(vec![request(false)], stuck).await,
            Err(CommandError::Other(_))
        ));
        assert_eq!(calls, 2);
    }

    #[test]
    fn an_invalid_name_is_quoted_instead_of_its_index() {
        let violation = |field: &str| FieldViolation {
            field: field.to_owned(),
            description: "is wrong".to_owned(),
        };
        let error = CallError {
            code: Code::InvalidArgument,
            reason: "INVALID_FIELD".to_owned(),
            message: "names[1] is wrong".to_owned(),
            fields: vec![violation("names[1]"), violation("names[10]")],
            preconditions: Vec::new(),
            retry_after: None,
        };
        let names: Vec<_> = (0..11).map(|number| format!("name-{number}")).collect();
        let message = with_names(error, &names).to_string();
        assert_eq!(message, "\"name-1\" is wrong (INVALID_FIELD)\n  \"name-10\" is wrong");
    }

    #[test]
    fn the_first_tokens_are_shown() {
        let mut total = BatchRevokeTokensResponse::default();
        let answer = |shown: i32, of: i32| BatchRevokeTokensResponse {
            revoked_count: of,
            tokens: (0..shown).map(|_| Token::default()).collect(),
            ..Default::default()
        };
        for (next, shown) in [(answer(600, 600), 600), (answer(300, 700), 900), (answer(5, 5), 900)] {
            add(&mut total, next, false);
            assert_eq!(total.tokens.len(), shown);
        }
        let mut total = BatchRevokeTokensResponse::default();
        add(&mut total, answer(1_000, 1_000), false);
        add(&mut total, answer(1_000, 1_000), false);
        assert_eq!((total.tokens.len(), total.revoked_count), (MAX_SHOWN, 2_000));
    }

    #[test]
    fn progress_is_reported_unless_the_call_was_rejected() {
        let call = |code| {
            CommandError::Call(CallError {
                code,
                reason: String::new(),
                message: String::new(),
                fields: Vec::new(),
                preconditions: Vec::new(),
                retry_after: None,
            })
        };
        assert!(may_have_revoked_some(&call(Code::Unavailable)));
        assert!(may_have_revoked_some(&CommandError::Other("interrupted".to_owned())));
        assert!(!may_have_revoked_some(&call(Code::InvalidArgument)));
        let total = BatchRevokeTokensResponse {
            revoked_count: 1_000,
            remaining_count: 1,
            ..Default::default()
        };
        assert!(progress_on_error(&total).starts_with("1000 tokens revoked so far, 1 left, and perhaps more"));
    }
}
