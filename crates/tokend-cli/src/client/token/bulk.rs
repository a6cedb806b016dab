//! Many tokens are ended: a bounded number in a call, and as many calls as it takes.

use std::collections::VecDeque;

use tokend_client::v1::{BatchRevokeTokensRequest, BatchRevokeTokensResponse};
use tokend_core::quote::quoted;
use tonic::{Code, Response, Status};

use crate::{client::patience::call_patiently, failure::Failure, progress::Progress, terminal::note};

/// Most tokens that are shown at the end: as many as the service shows of one call.
const SHOWN: usize = 1_000;

/// Makes each call until nothing is left of what it is about, tells how far that has got, and puts the answers together: the sums, and
/// the tokens that were ended first. If it ends before, it says how far it came.
///
/// # Errors
/// A call that failed for good, or Ctrl-C.
pub(super) async fn revoke(
    requests: Vec<BatchRevokeTokensRequest>,
    call: impl AsyncFnMut(BatchRevokeTokensRequest) -> Result<Response<BatchRevokeTokensResponse>, Status>,
) -> Result<BatchRevokeTokensResponse, Failure> {
    let is_rehearsal = requests.iter().all(|request| request.validate_only);
    let mut total = BatchRevokeTokensResponse::default();
    let outcome = tokio::select! {
        outcome = repeat(requests, call, &mut total) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::Other("interrupted".to_owned())),
    };
    match outcome {
        Ok(()) => Ok(total),
        Err(failure) => {
            if !is_rehearsal && (total.revoked_count > 0 || may_have_ended_some(&failure)) {
                note(&how_far(&total));
            }
            Err(failure)
        }
    }
}

/// Tells how many it were, and whether all of them are shown.
pub(super) fn note_outcome(total: &BatchRevokeTokensResponse, is_rehearsal: bool) {
    let BatchRevokeTokensResponse { revoked_count, remaining_count, tokens, revision: _ } = total;
    let all = revoked_count.saturating_add(*remaining_count);
    let shown = match tokens.len() {
        shown if usize::try_from(all).is_ok_and(|all| all > shown) => format!("; the first {shown} are shown"),
        _ => String::new(),
    };
    note(&match is_rehearsal {
        true => format!("This would revoke {}{shown}. Nothing was revoked.", tokens_in_words(all)),
        false => format!("Revoked {}{shown}.", tokens_in_words(all)),
    });
}

async fn repeat(
    requests: Vec<BatchRevokeTokensRequest>,
    mut call: impl AsyncFnMut(BatchRevokeTokensRequest) -> Result<Response<BatchRevokeTokensResponse>, Status>,
    total: &mut BatchRevokeTokensResponse,
) -> Result<(), Failure> {
    let (mut progress, mut left_before) = (Progress::on_stderr(), i32::MAX);
    let mut pending = VecDeque::from(requests);
    while let Some(request) = pending.front() {
        let on_failure = |failure: &tokend_client::Failure| progress.tell(&format!("Trying again after: {failure}"));
        let answer = call_patiently(async || call(request.clone()).await, on_failure).await;
        let answer = answer.map_err(|failure| naming(failure, &request.names))?;
        let (ended, left, is_rehearsal) = (answer.revoked_count, answer.remaining_count, request.validate_only);
        add(total, answer, is_rehearsal);
        if is_rehearsal || left == 0 {
            pending.pop_front();
            left_before = i32::MAX;
        } else if ended == 0 && left >= left_before {
            // Whoever else ends the same tokens makes them fewer.
            return Err(Failure::Other(format!("the service revokes nothing more, although it says that {left} are left")));
        } else {
            left_before = left;
        }
        if !is_rehearsal && !pending.is_empty() {
            progress.tell(&in_words(total));
        }
    }
    Ok(())
}

/// Says which name does not fit instead of its number in the call, which is none of the number on the command line.
fn naming(mut failure: tokend_client::Failure, names: &[String]) -> tokend_client::Failure {
    for (index, name) in names.iter().enumerate() {
        let (field, name) = (format!("names[{index}]"), quoted(name).to_string());
        failure.message = failure.message.replace(&field, &name);
        for violation in failure.fields.iter_mut().filter(|violation| violation.field == field) {
            violation.field.clone_from(&name);
        }
    }
    failure
}

/// What was ended adds up. What is left is what the last answer says; of a rehearsal, which ends nothing, that adds up, too.
fn add(total: &mut BatchRevokeTokensResponse, answer: BatchRevokeTokensResponse, is_rehearsal: bool) {
    let BatchRevokeTokensResponse { revoked_count, remaining_count, tokens, revision } = answer;
    // Only as long as none is missing between those that are there and those that come.
    if usize::try_from(total.revoked_count) == Ok(total.tokens.len()) {
        let room = SHOWN.saturating_sub(total.tokens.len());
        total.tokens.extend(tokens.into_iter().take(room));
    }
    total.revoked_count = total.revoked_count.saturating_add(revoked_count);
    total.remaining_count = if is_rehearsal { total.remaining_count.saturating_add(remaining_count) } else { remaining_count };
    total.revision = revision.or(total.revision);
}

/// Whether a call that failed so can have ended something: it was not refused before.
fn may_have_ended_some(failure: &Failure) -> bool {
    use Code::{InvalidArgument, NotFound, PermissionDenied, Unauthenticated};
    match failure {
        Failure::Call(failure) => !matches!(failure.code, InvalidArgument | NotFound | PermissionDenied | Unauthenticated),
        Failure::Unreachable(_) => false,
        Failure::Usage(_) | Failure::Other(_) => true,
    }
}

fn how_far(total: &BatchRevokeTokensResponse) -> String {
    format!(
        "{}, and perhaps some more by the call that was cut short. The same command goes on from there: what is revoked stays as it is.",
        in_words(total)
    )
}

fn in_words(total: &BatchRevokeTokensResponse) -> String {
    match total.remaining_count {
        0 => format!("{} revoked so far", tokens_in_words(total.revoked_count)),
        left => format!("{} revoked so far, {left} left", tokens_in_words(total.revoked_count)),
    }
}

fn tokens_in_words(count: i32) -> String {
    if count == 1 { "1 token".to_owned() } else { format!("{count} tokens") }
}

#[cfg(test)]
mod tests {
    use tokend_client::v1::Token;

    use super::*;

    /// A service that ends two tokens in a call, of as many as there are.
    struct Service {
        left: i32,
        calls: u32,
    }

    impl Service {
        fn answer(&mut self, request: &BatchRevokeTokensRequest) -> BatchRevokeTokensResponse {
            let ended = self.left.min(2);
            let tokens = (0..ended).map(|index| Token { name: format!("{}", self.left - index), ..Default::default() }).collect();
            let remaining_count = self.left - ended;
            self.calls += 1;
            self.left = if request.validate_only { self.left } else { remaining_count };
            BatchRevokeTokensResponse { revoked_count: ended, remaining_count, tokens, revision: None }
        }
    }

    fn request(validate_only: bool) -> BatchRevokeTokensRequest {
        BatchRevokeTokensRequest { validate_only, ..Default::default() }
    }

    #[tokio::test]
    async fn calls_are_repeated_until_nothing_is_left() {
        let mut service = Service { left: 5, calls: 0 };
        let told =
            revoke(vec![request(false)], async |request| Ok(Response::new(service.answer(&request)))).await.expect("revoked");
        assert_eq!((told.revoked_count, told.remaining_count, service.calls), (5, 0, 3));
        let names: Vec<_> = told.tokens.iter().map(|token| token.name.as_str()).collect();
        assert_eq!(names, ["5", "4", "3", "2", "1"]);
    }

    #[tokio::test]
    async fn a_rehearsal_is_one_call_for_each_request() {
        let mut service = Service { left: 5, calls: 0 };
        let requests = vec![request(true), request(true)];
        let told = revoke(requests, async |request| Ok(Response::new(service.answer(&request)))).await.expect("rehearsed");
        assert_eq!((told.revoked_count, told.remaining_count, service.calls), (4, 6, 2));
    }

    #[tokio::test]
    async fn a_service_that_gets_no_further_is_not_asked_for_ever() {
        let mut calls = 0;
        let stuck = async |_| {
            calls += 1;
            Ok(Response::new(BatchRevokeTokensResponse { remaining_count: 3, ..Default::default() }))
        };
        assert!(matches!(revoke(vec![request(false)], stuck).await, Err(Failure::Other(_))));
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_name_that_does_not_fit_is_quoted_instead_of_counted() {
        let violation = |field: &str| tokend_client::FieldFailure { field: field.to_owned(), description: "is wrong".to_owned() };
        let failure = tokend_client::Failure {
            code: Code::InvalidArgument,
            reason: "INVALID_FIELD".to_owned(),
            message: "names[1] is wrong".to_owned(),
            fields: vec![violation("names[1]"), violation("names[10]")],
            preconditions: Vec::new(),
            retry_after: None,
        };
        let names: Vec<_> = (0..11).map(|number| format!("name-{number}")).collect();
        let told = naming(failure, &names).to_string();
        assert_eq!(told, "\"name-1\" is wrong (INVALID_FIELD)\n  \"name-10\" is wrong");
    }

    #[test]
    fn the_tokens_that_are_shown_are_the_first_ones() {
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
        assert_eq!((total.tokens.len(), total.revoked_count), (SHOWN, 2_000));
    }

    #[test]
    fn how_far_it_came_is_told_unless_it_was_refused() {
        let call = |code| {
            Failure::Call(tokend_client::Failure {
                code,
                reason: String::new(),
                message: String::new(),
                fields: Vec::new(),
                preconditions: Vec::new(),
                retry_after: None,
            })
        };
        assert!(may_have_ended_some(&call(Code::Unavailable)));
        assert!(may_have_ended_some(&Failure::Other("interrupted".to_owned())));
        assert!(!may_have_ended_some(&call(Code::InvalidArgument)));
        let total = BatchRevokeTokensResponse { revoked_count: 1_000, remaining_count: 1, ..Default::default() };
        assert!(how_far(&total).starts_with("1000 tokens revoked so far, 1 left, and perhaps some more"));
    }
}
