//! Each credential has a limited number of look-ups at once, and its other look-ups wait for these.
//!
//! Authentication comes before every other decision and, unless the caller is in memory, reads the database, even for a
//! key that was revoked long ago. Because each credential has turns of its own, a flood of calls with one credential
//! delays that credential only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokend_core::{caller::CertificateSan, credential::CredentialId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most credentials to keep turns for before unused ones are removed. Only credentials that this installation issued
/// are looked up.
const REMEMBERED: usize = 1_024;

/// Most look-ups of one credential that wait or are in progress, as many as calls may be in flight by default. Further
/// ones are refused at once.
const LONGEST_LINE: usize = 1_024;

/// The credential that is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LookUpKey {
    /// A caller key.
    CallerKey(CredentialId),
    /// A client certificate: the first of its names.
    Certificate(CertificateSan),
}

/// The turns of all credentials.
#[derive(Debug)]
pub(crate) struct LookUps {
    /// Look-ups of one credential at once.
    at_once: usize,
    turns: Mutex<HashMap<LookUpKey, Arc<Semaphore>>>,
}

impl LookUps {
    /// Allows this many look-ups of one credential at once, and at least one.
    pub(crate) fn new(at_once: u32) -> Self {
        Self {
            at_once: at_once.max(1) as usize,
            turns: Mutex::default(),
        }
    }

    /// Waits for a turn, which ends when it is dropped. Returns `None` if too many look-ups wait already.
    pub(crate) async fn turn(&self, credential: LookUpKey) -> Option<OwnedSemaphorePermit> {
        let turns = self.turns_of(credential)?;
        // The semaphore is never closed.
        turns.acquire_owned().await.ok()
    }

    fn turns_of(&self, credential: LookUpKey) -> Option<Arc<Semaphore>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= REMEMBERED {
            // Each look-up that waits or is in progress holds a reference.
            turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        let turns = turns
            .entry(credential)
            .or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
        (Arc::strong_count(turns) <= LONGEST_LINE).then(|| Arc::clone(turns))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn key(number: u8) -> LookUpKey {
        LookUpKey::CallerKey(CredentialId::from_bytes([number; CredentialId::BYTES]))
    }

    #[test]
    fn a_credential_waits_for_its_own_turns_only() {
        let look_ups = LookUps::new(1);
        let turn = look_ups.turn(key(1)).now_or_never().expect("it has none");
        assert!(look_ups.turn(key(1)).now_or_never().is_none(), "it has one");
        assert!(look_ups.turn(key(2)).now_or_never().is_some(), "another one has none");
        drop(turn);
        assert!(look_ups.turn(key(1)).now_or_never().is_some(), "it is over");
    }

    #[test]
    fn a_line_has_its_end() {
        let look_ups = LookUps::new(1);
        let mut line: Vec<_> = (0..LONGEST_LINE).map(|_| Box::pin(look_ups.turn(key(1)))).collect();
        let first = line[0].as_mut().now_or_never().expect("it is the first");
        assert!(
            line[1..]
                .iter_mut()
                .all(|waits| waits.as_mut().now_or_never().is_none())
        );
        assert!(
            matches!(look_ups.turn(key(1)).now_or_never(), Some(None)),
            "it is one too many"
        );
        drop((line, first));
        assert!(matches!(look_ups.turn(key(1)).now_or_never(), Some(Some(_))));
    }

    #[test]
    fn whoever_has_a_turn_is_remembered_and_nobody_else() {
        let look_ups = LookUps::new(1);
        let _turn = look_ups.turn(key(0)).now_or_never().expect("it has none");
        for round in 0..3 * REMEMBERED {
            let id: [u8; CredentialId::BYTES] = std::array::from_fn(|index| (round >> (8 * index.min(3))) as u8 | 1);
            let _ = look_ups
                .turn(LookUpKey::CallerKey(CredentialId::from_bytes(id)))
                .now_or_never();
            assert!(look_ups.turns.lock().expect("it is whole").len() <= REMEMBERED);
        }
        assert!(look_ups.turn(key(0)).now_or_never().is_none(), "it has one still");
    }
}
