//! Verifications of the same token at the same time share calls.
//!
//! A call may be shared only with questions that were asked before it was sent: an answer to an earlier call could come
//! from before a revocation that the asker knows about. So whoever finds a call under way waits for the next one. By
//! then, the cache usually has the answer.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{Denied, Shared, VerifiedToken, entries::Key, token::Question};
use crate::v1::DenyReason;

/// The answer to a question.
pub(super) type Outcome = Result<VerifiedToken, Denied>;

/// The questions that wait, for each token that is being verified. A token without waiting questions is in the map
/// while a call is under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Vec<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    question: Question,
    reply: oneshot::Sender<Outcome>,
}

/// Removes a token from the map, whatever happens to the task that answers its questions.
struct Landing<'a> {
    flights: &'a Flights,
    key: Key,
}

/// Asks the service, together with others that ask about the same token.
pub(super) async fn ask(shared: &Arc<Shared>, key: Key, secret: &str, question: Question) -> Outcome {
    let (reply, answer) = oneshot::channel();
    let is_first = {
        let mut flights = shared.flights.lock();
        let is_first = !flights.contains_key(&key);
        flights.entry(key).or_default().push(Waiting { question, reply });
        is_first
    };
    if is_first {
        // A task of its own: others may wait for the call when this asker is gone.
        let secret = Zeroizing::new(secret.to_owned());
        tokio::spawn(answer_all(Arc::clone(shared), key, secret));
    }
    match tokio::time::timeout(shared.deadline, answer).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => Err(shared.late()),
    }
}

/// Answers the questions about a token until none waits.
async fn answer_all(shared: Arc<Shared>, key: Key, secret: Zeroizing<String>) {
    let landing = Landing {
        flights: &shared.flights,
        key,
    };
    while let Some(waiting) = landing.next() {
        answer(&shared, &key, &secret, waiting).await;
    }
}

/// Answers questions that were all asked before now.
async fn answer(shared: &Shared, key: &Key, secret: &str, waiting: Vec<Waiting>) {
    let waiting: Vec<_> = waiting
        .into_iter()
        .filter(|waiting| !waiting.reply.is_closed())
        .filter_map(|waiting| match shared.recall(key, &waiting.question) {
            Some(token) => {
                waiting.reply(Ok(token));
                None
            }
            None => Some(waiting),
        })
        .collect();
    let mut groups = by_question(waiting);
    if groups.is_empty() {
        return;
    }
    // One call usually answers all of them.
    let (question, asked) = groups.swap_remove(0);
    let outcome = shared.call(key, secret, &question).await;
    asked.into_iter().for_each(|waiting| waiting.reply(outcome.clone()));
    let rest = groups
        .into_iter()
        .filter_map(|(question, asked)| match answer_to(&outcome, &question) {
            Some(outcome) => {
                asked.into_iter().for_each(|waiting| waiting.reply(outcome.clone()));
                None
            }
            None => Some(async move {
                let outcome = shared.call(key, secret, &question).await;
                asked.into_iter().for_each(|waiting| waiting.reply(outcome.clone()));
            }),
        });
    join_all(rest).await;
}

/// Returns the answer to a question about a token, if it follows from the answer to another one.
fn answer_to(outcome: &Outcome, question: &Question) -> Option<Outcome> {
    match outcome {
        Ok(token) => token.permits(question).then(|| Ok(token.clone())),
        Err(Denied::ByVerdict { reason, token, .. }) => is_about_the_token(*reason).then(|| {
            Err(Denied::ByVerdict {
                reason: *reason,
                token: token.clone(),
                required_scopes: question.scopes.clone(),
                missing_scopes: Vec::new(),
            })
        }),
        Err(outage @ Denied::Unavailable { .. }) => Some(Err(outage.clone())),
        Err(_) => None,
    }
}

/// Returns whether the reason applies to everything that the token is used for.
fn is_about_the_token(reason: DenyReason) -> bool {
    match reason {
        DenyReason::Unrecognized
        | DenyReason::Revoked
        | DenyReason::Expired
        | DenyReason::WorkspaceSuspended
        | DenyReason::WorkspaceDeleted => true,
        DenyReason::ResourceNotCovered
        | DenyReason::InsufficientScope
        | DenyReason::AddressNotAllowed
        | DenyReason::Unspecified => false,
    }
}

fn by_question(waiting: Vec<Waiting>) -> Vec<(Question, Vec<Waiting>)> {
    let mut groups: Vec<(Question, Vec<Waiting>)> = Vec::new();
    for waiting in waiting {
        match groups.iter_mut().find(|(question, _)| *question == waiting.question) {
            Some((_, asked)) => asked.push(waiting),
            None => groups.push((waiting.question.clone(), vec![waiting])),
        }
    }
    groups
}

impl Waiting {
    fn reply(self, outcome: Outcome) {
        // The asker may be gone.
        let _ = self.reply.send(outcome);
    }
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landing<'_> {
    /// Returns the questions that wait for the token. If there are none, removes the token and returns nothing.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut flights = self.flights.lock();
        let waiting = flights.get_mut(&self.key).map(mem::take).unwrap_or_default();
        if waiting.is_empty() {
            flights.remove(&self.key);
            return None;
        }
        Some(waiting)
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        // Only questions of a task that was aborted are still there. Dropping them fails them.
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::guard::token::tests::{message, question};

    fn verdict(reason: DenyReason) -> Outcome {
        Err(Denied::ByVerdict {
            reason,
            token: None,
            required_scopes: vec!["webhook".to_owned()],
            missing_scopes: vec!["webhook".to_owned()],
        })
    }

    #[test]
    fn an_answer_is_shared_only_if_it_follows() {
        let inside = question("workspaces/acme/projects/web", &["repository"], None);
        let outside = question("workspaces/acme/projects/other", &[], None);
        let allowed = Ok(VerifiedToken::new(message()));
        assert!(matches!(answer_to(&allowed, &inside), Some(Ok(_))));
        assert!(answer_to(&allowed, &outside).is_none(), "only the service denies");
        for reason in [
            DenyReason::Revoked,
            DenyReason::Unrecognized,
            DenyReason::WorkspaceSuspended,
        ] {
            let Some(Err(Denied::ByVerdict { required_scopes, .. })) = answer_to(&verdict(reason), &inside) else {
                panic!("{reason:?} is about the token")
            };
            assert_eq!(required_scopes, ["repository"]);
        }
        for reason in [
            DenyReason::InsufficientScope,
            DenyReason::AddressNotAllowed,
            DenyReason::Unspecified,
        ] {
            assert!(answer_to(&verdict(reason), &inside).is_none(), "{reason:?}");
        }
        let outage = Err(Denied::Unavailable {
            retry_after: Duration::ZERO,
            cause: String::new(),
        });
        assert!(matches!(
            answer_to(&outage, &inside),
            Some(Err(Denied::Unavailable { .. }))
        ));
    }

    #[test]
    fn a_token_is_in_the_map_while_its_questions_are_answered() {
        let (flights, key) = (Flights::default(), [1; 32]);
        let (reply, mut answer) = oneshot::channel();
        let question = question("workspaces/acme", &[], None);
        flights.lock().entry(key).or_default().push(Waiting { question, reply });
        let landing = Landing { flights: &flights, key };
        let waiting = landing.next().expect("a question");
        assert!(flights.lock().contains_key(&key));
        drop(waiting);
        assert!(answer.try_recv().is_err(), "a question that is dropped fails");
        assert!(landing.next().is_none());
        assert!(flights.lock().is_empty());
    }
}
