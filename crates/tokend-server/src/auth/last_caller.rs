//! The caller of a connection's last call. A connection is nearly always one caller's, which presents the same key in
//! every call: then the key need not be taken apart, hashed and looked up again.
//!
//! What was found stays valid only as long as a look-up would find the same: the memory is that of the same epoch and
//! its slots admit the entry, the key ring is the same, and neither key nor certificate has expired. A connection keeps
//! its certificate for as long as it is open.

use std::time::Duration;

use constant_time_eq::constant_time_eq;
use tokend_core::{caller::Caller, time::Timestamp};
use zeroize::Zeroizing;

use super::authenticator::{Authenticator, Credentials, PresentedKey, RememberedCaller};
use crate::verifier::Trusted;

/// How precisely the last use of a key is known. A use is recorded in memory that all connections share.
const BETWEEN_USES: Duration = Duration::from_secs(1);

/// The caller of the last call of one connection that was answered from memory.
#[derive(Default)]
pub(crate) struct LastCaller(Option<Known>);

struct Known {
    /// The key that was presented, if there was one. It is wiped when it is forgotten.
    key: Option<Zeroizing<Vec<u8>>>,
    caller: RememberedCaller,
    /// When the use of the key was last recorded.
    recorded_at: Timestamp,
}

impl LastCaller {
    /// Returns the caller that the credentials belong to, if `memory` alone says so, as
    /// [`Authenticator::remembered`] does, and records the use of its key.
    pub(crate) fn or_remembered(
        &mut self,
        authenticator: &Authenticator,
        memory: &Trusted<'_>,
        credentials: &Credentials<'_>,
    ) -> Option<&Caller> {
        let certificate = credentials.certificate.as_deref();
        let last = self.0.take().filter(|last| {
            last.presented(credentials.key) && Authenticator::still_serves(memory, &last.caller, certificate)
        });
        let known = match last {
            Some(known) if memory.now.saturating_since(known.recorded_at) < BETWEEN_USES => known,
            last => {
                let caller = match last {
                    Some(known) => known.caller,
                    None => Authenticator::remembered(memory, credentials)?,
                };
                authenticator.note_use(&caller, memory.now);
                Known::new(credentials.key, caller, memory.now)
            }
        };
        Some(self.0.insert(known).caller.caller())
    }
}

impl Known {
    fn new(key: PresentedKey<'_>, caller: RememberedCaller, recorded_at: Timestamp) -> Self {
        let key = match key {
            PresentedKey::Text(text) => Some(Zeroizing::new(text.as_bytes().to_vec())),
            PresentedKey::Absent | PresentedKey::Malformed => None,
        };
        Self {
            key,
            caller,
            recorded_at,
        }
    }

    /// Returns whether this is what was presented. The time that it takes tells nothing but the length of the key.
    fn presented(&self, key: PresentedKey<'_>) -> bool {
        match (&self.key, key) {
            (Some(last), PresentedKey::Text(text)) => constant_time_eq(last, text.as_bytes()),
            (None, PresentedKey::Absent) => true,
            (Some(_), _) | (None, PresentedKey::Text(_) | PresentedKey::Malformed) => false,
        }
    }
}
