//! The memory as one request uses it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::Guard;
use tokend_core::{
    caller::{Caller, CertificateSan},
    credential::CredentialId,
    feed::Revision,
    lease::Subject,
    rule::{self, Rule},
    time::{BootTime, Clock},
    token::{Token, TokenContext},
};
use tokend_store::TokenSnapshot;

use super::{Cached, Generation, RememberedKey, keep};

/// The memory as one request may use it.
///
/// The lease and the head are read before anything is looked up (V1, V6), and everything is looked up in the generation
/// that they belong to. It writes to no memory that other threads use.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(super) generation: Guard<Arc<Generation>>,
    /// When the reading was taken.
    pub(in crate::verifier) now: BootTime,
    /// What was left of the lease then.
    pub(in crate::verifier) lease: Duration,
    pub(super) head: u64,
}

/// Something in memory that was found before. A [`Reading`] says whether it is still up to date, without another look-up.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    /// The memory of a former epoch is not kept by this.
    generation: Weak<Generation>,
    cached: Arc<Cached<T>>,
}

impl Clone for Reading {
    fn clone(&self) -> Self {
        Self {
            generation: Guard::from_inner(Arc::clone(&self.generation)),
            ..*self
        }
    }
}

impl<T> Kept<T> {
    /// Returns what was found.
    pub(crate) fn value(&self) -> &T {
        &self.cached.value
    }
}

impl Reading {
    /// Returns the revision of every answer from this memory (V6).
    pub(in crate::verifier) fn revision(&self) -> Revision {
        Revision {
            epoch: self.generation.epoch,
            number: self.head,
        }
    }

    /// Returns whether the lease still runs, which it has to when the answer leaves (V1).
    pub(in crate::verifier) fn is_current(&self, clock: &Clock) -> bool {
        self.generation.lease.runs_at(clock.boot_time()) || !rule::is_kept(Rule::OutageIsUnavailable)
    }

    /// Returns the reading as it would be if it were taken after the look-up, for tests that leave out a part of V1.
    #[cfg(debug_assertions)]
    pub(in crate::verifier) fn taken_late(&self, clock: &Clock) -> Self {
        let mut late = self.clone();
        if !rule::is_kept(Rule::BoundBeforeLookUp) {
            late.lease = late.generation.lease.remaining(clock.boot_time());
        }
        if !rule::is_kept(Rule::HeadBeforeLookUp) {
            late.head = late.generation.revision().number;
        }
        late
    }

    /// Calls `then` with a token, and with what it depends on, if both are here and up to date (V2).
    pub(in crate::verifier) fn with_token<R>(
        &self,
        id: CredentialId,
        then: impl FnOnce(&Arc<Token>, &Arc<TokenContext>) -> Option<R>,
    ) -> Option<R> {
        let generation = &*self.generation;
        generation.tokens.with(id, |found| {
            if !generation.slots.admits(found.slot, found.revision) {
                return None;
            }
            let workspaces = generation.workspaces.pin();
            let workspace = workspaces.get(&found.token.name.workspace)?;
            generation
                .admits(workspace)
                .then(|| then(&found.token, &workspace.value))?
        })
    }

    /// Keeps a token that was read from the database. A snapshot may be old: whether it is up to date is asked when it is
    /// used.
    pub(in crate::verifier) fn keep_token(&self, snapshot: &TokenSnapshot) {
        let TokenSnapshot {
            token,
            token_context,
            organization,
            now: _,
            revision,
        } = snapshot;
        // Absence is never remembered, nor what belongs to another epoch (V2).
        if revision.epoch != self.generation.epoch {
            return;
        }
        let slot = Subject::Token(token.name.clone()).slot();
        self.generation.tokens.insert(Arc::clone(token), revision.number, slot);
        let workspace = Subject::Workspace(token_context.workspace.clone()).slot();
        let organization = organization
            .clone()
            .map_or(workspace, |organization| Subject::Organization(organization).slot());
        keep(
            &self.generation.workspaces,
            token_context.workspace.clone(),
            Cached {
                value: Arc::new(token_context.clone()),
                revision: revision.number,
                slots: [workspace, organization],
            },
        );
    }

    /// Returns a caller key and its caller, if they are here and up to date.
    pub(in crate::verifier) fn caller_key(&self, id: CredentialId) -> Option<Kept<RememberedKey>> {
        let found = self.generation.get(&self.generation.keys, &id)?;
        Some(self.kept(found))
    }

    /// Keeps a caller key that was read from the database.
    pub(in crate::verifier) fn keep_caller_key(&self, key: &RememberedKey, revision: Revision) {
        if revision.epoch == self.generation.epoch {
            let slot = Subject::Caller(key.caller.id.clone()).slot();
            keep(
                &self.generation.keys,
                key.key.name.id,
                Cached {
                    value: key.clone(),
                    revision: revision.number,
                    slots: [slot, slot],
                },
            );
        }
    }

    /// Returns the caller that the names in a certificate belong to, if that is here and up to date.
    pub(in crate::verifier) fn certificate(&self, names: &[CertificateSan]) -> Option<Kept<Arc<Caller>>> {
        let names = names.to_vec();
        let found = self.generation.get(&self.generation.certificates, &names)?;
        Some(self.kept(found))
    }

    fn kept<T>(&self, cached: Arc<Cached<T>>) -> Kept<T> {
        Kept {
            generation: Arc::downgrade(&self.generation),
            cached,
        }
    }

    /// Returns whether what was found before would be found now (V2).
    pub(in crate::verifier) fn still_has<T>(&self, kept: &Kept<T>) -> bool {
        // While the weak reference is there, no other generation takes the place in memory.
        Weak::as_ptr(&kept.generation) == Arc::as_ptr(&self.generation) && self.generation.admits(&kept.cached)
    }

    /// Keeps the only caller that the names in a certificate belong to.
    pub(in crate::verifier) fn keep_certificate(
        &self,
        names: &[CertificateSan],
        caller: &Arc<Caller>,
        revision: Revision,
    ) {
        if revision.epoch == self.generation.epoch {
            keep(
                &self.generation.certificates,
                names.to_vec(),
                Cached {
                    value: Arc::clone(caller),
                    revision: revision.number,
                    slots: [Subject::Caller(caller.id.clone()).slot(), Subject::Certificates.slot()],
                },
            );
        }
    }
}
