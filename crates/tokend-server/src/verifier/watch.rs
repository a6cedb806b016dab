//! What the verifier does for watching clients.

use std::{sync::Arc, thread, time::Duration};

use tokend_core::{
    feed::Revision,
    name::{CallerId, TokenName},
    rule::{self, Rule},
    time::Timestamp,
};

use super::{Mode, Verifier, memory::Reading, watchers::Watching};
use crate::{auth::Authenticated, error::ServiceError};

impl Verifier {
    /// Opens a stream for a caller. Returns the revision after which everything comes through its queue (S3).
    pub(crate) fn watch(&self, caller: CallerId) -> (Watching, Revision) {
        let memory = &self.shared.memory;
        let before = (!rule::is_kept(Rule::StreamBetweenApplies)).then(|| {
            let head = memory.head();
            thread::sleep(rule::WINDOW);
            head
        });
        let mut streams = memory.watchers.lock();
        let watching = streams.open(caller, Arc::clone(&self.shared));
        (watching, before.unwrap_or_else(|| memory.head()))
    }

    /// Checks that a caller is still served: in memory if that may be trusted, and otherwise in the database.
    ///
    /// # Errors
    /// [`ServiceError::InvalidCredential`] or [`ServiceError::CertificateExpired`] if it is not;
    /// [`ServiceError::Storage`].
    pub(crate) async fn check_served(&self, caller: &Authenticated) -> Result<(), ServiceError> {
        if self.has_stopped() {
            return Err(ServiceError::RevisionNotReached);
        }
        if let Some(reading) = self.shared.memory.reading(None)
            && reading.serves(caller, self.shared.now(reading.now))
        {
            return Ok(());
        }
        let store = &self.shared.store;
        match caller.check(&store.current_caller(&caller.reference()).await?) {
            Ok(()) => Ok(()),
            Err(invalidated) => Err(invalidated.into_error(store).await),
        }
    }

    /// Returns whether a token exists in the workspace of its name. Asks the database only if memory does not have it.
    ///
    /// # Errors
    /// [`ServiceError::Storage`].
    pub(crate) async fn has_token(&self, name: &TokenName) -> Result<bool, ServiceError> {
        let reading = self.shared.memory.reading(None);
        let is_it = |reading: &Reading| reading.with_token(name.id, |token, _| Some(token.name == *name));
        if let Some(is_it) = reading.as_ref().and_then(is_it) {
            return Ok(is_it);
        }
        let Some(found) = self.shared.store.token_snapshot(name.id).await? else {
            return Ok(false);
        };
        if let Some(reading) = reading {
            reading.keep_token(&found);
        }
        Ok(found.token.name == *name)
    }

    /// Returns how long a client may answer from its cache, and the revision that it has to have applied for that. In a
    /// process that keeps its memory up to date itself the lease is recorded before it is returned.
    pub(crate) fn lease_for_watcher(&self) -> (Duration, Revision) {
        let Some(reading) = self.shared.memory.reading(None) else {
            return (Duration::ZERO, self.shared.memory.head());
        };
        let lease = match &self.shared.mode {
            Mode::Polled => reading.lease,
            Mode::Embedded(leases) => leases.give(&self.shared.clock),
        };
        (lease, reading.revision())
    }

    /// Returns database time, as far as this process knows it.
    pub(crate) fn time(&self) -> Timestamp {
        self.shared.now(self.shared.clock.boot_time())
    }
}
