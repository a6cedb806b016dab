//! Finds tokens, in memory and in the database.

use std::{sync::Arc, time::Duration};

use tokend_core::{
    credential::{Recognized, Unrecognized},
    feed::Revision,
    rule::{self, Rule},
    time::Timestamp,
    token::{Token, TokenContext},
};
use tokend_store::TokenSnapshot;

#[cfg(debug_assertions)]
use super::trusted::PARTS_OF_V1;
use super::{
    Lane, Mode, Shared, Verifier,
    memory::{Reading, RememberedKey},
    presented::{Issued, Outcome, Presented},
};
use crate::{
    auth::{Authenticated, CallerCredential},
    error::ServiceError,
};

/// What the answer from the database says for tests that leave out the rule that it must not be cached (S5).
const LONGER_THAN_A_WAIT: Duration = Duration::from_secs(5);

/// How fresh an answer has to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freshness {
    /// The answer must not come from memory.
    pub(crate) fully_consistent: bool,
    /// The answer must include every change up to this revision. One of another epoch is served from the database.
    pub(crate) min_revision: Option<Revision>,
}

/// A token whose secret was presented, with everything that a verdict depends on.
#[derive(Debug)]
pub(crate) struct VerifiedToken {
    pub(crate) token: Recognized<Arc<Token>>,
    pub(crate) token_context: Arc<TokenContext>,
    /// Database time.
    pub(crate) now: Timestamp,
    /// Every change up to this revision is included.
    pub(crate) revision: Revision,
    source: Source,
}

/// Where a verified token was found.
#[derive(Debug)]
enum Source {
    /// In memory. The reading has to be current when the answer leaves.
    Memory(Reading),
    /// In the database, in one snapshot.
    Database,
}

impl Verifier {
    /// Looks up the token that was presented, in the database.
    ///
    /// # Errors
    /// [`ServiceError::Storage`].
    pub(crate) async fn token(
        &self,
        presented: &Presented,
        lane: Lane,
    ) -> Result<Outcome<VerifiedToken>, ServiceError> {
        let Some(issued) = presented.as_issued() else {
            return Ok(Outcome::Foreign);
        };
        let found = self.store_of(lane).token_snapshot(issued.credential.id()).await?;
        Ok(issued.token(found, self.time()))
    }

    /// Looks up the token that was presented to `caller`, for a verdict: in memory if `freshness` permits that, and
    /// otherwise in the database, in one snapshot with the caller. The caller must still be served.
    ///
    /// # Errors
    /// [`ServiceError::InvalidCredential`] or [`ServiceError::CertificateExpired`] if the caller is no longer served;
    /// [`ServiceError::Storage`]; [`ServiceError::RevisionNotReached`] if the database is in an older state than before.
    pub(crate) async fn token_for(
        &self,
        presented: &Presented,
        caller: &Authenticated,
        freshness: Freshness,
    ) -> Result<Outcome<VerifiedToken>, ServiceError> {
        let Some(issued) = presented.as_issued() else {
            return Ok(Outcome::Foreign);
        };
        let Some(reading) = self.reading(freshness)? else {
            return self.read_token_for(issued, caller, None).await;
        };
        if let Some(remembered) = self.remembered_token(&reading, issued, caller) {
            self.shared.look_ups.memory.increment();
            #[cfg(debug_assertions)]
            let remembered = self.read_late(remembered).await;
            return Ok(remembered);
        }
        let read = self.read_token_for(issued, caller, Some(&reading)).await?;
        // What was read is in memory now. If nothing changed meanwhile, the answer is one from memory.
        Ok(self.remembered_token(&reading, issued, caller).unwrap_or(read))
    }

    /// Reads a token and the caller from the database, and keeps both in the memory of `reading`.
    async fn read_token_for(
        &self,
        issued: &Issued,
        caller: &Authenticated,
        reading: Option<&Reading>,
    ) -> Result<Outcome<VerifiedToken>, ServiceError> {
        self.shared.look_ups.database.increment(1);
        let known = self.shared.memory.head();
        let (store, id) = (&self.shared.store, issued.credential.id());
        let Some((found, asking)) = store.token_snapshot_for(id, &caller.reference()).await? else {
            return Ok(Outcome::Unknown);
        };
        // Somebody has put an older database in place of this one, in which a revoked token may work (L5).
        if found.revision.epoch == known.epoch && found.revision.number < known.number {
            return Err(ServiceError::RevisionNotReached);
        }
        if let Err(invalidated) = caller.check(&asking) {
            return Err(invalidated.into_error(store).await);
        }
        if let Some(reading) = reading {
            reading.keep_token(&found);
            // The caller is the one that has authenticated, unchanged.
            match (&caller.credential, asking.key) {
                (CallerCredential::Key(_), Some(key)) => {
                    let key = RememberedKey {
                        key: Arc::new(key),
                        caller: Arc::clone(&caller.caller),
                    };
                    reading.keep_caller_key(&key, found.revision);
                }
                // Which callers own the names of a certificate was not read here.
                (CallerCredential::Certificate(_), _) | (CallerCredential::Key(_), None) => {}
            }
        }
        Ok(issued.token(Some(found), self.time()))
    }

    /// Returns the token that was presented to `caller`, if memory has both, and the caller is served.
    fn remembered_token(
        &self,
        reading: &Reading,
        issued: &Issued,
        caller: &Authenticated,
    ) -> Option<Outcome<VerifiedToken>> {
        let found = self.recognized(reading, issued)?;
        // If the caller is not served, the database says why.
        reading.serves(caller, self.shared.now(reading.now)).then_some(found)
    }

    fn recognized(&self, reading: &Reading, issued: &Issued) -> Option<Outcome<VerifiedToken>> {
        let (token, token_context) = reading.with_token(issued.credential.id(), |token, token_context| {
            Some((Arc::clone(token), Arc::clone(token_context)))
        })?;
        let now = self.shared.now(reading.now);
        Some(match issued.ring.recognize(&issued.credential, token) {
            Ok(token) => Outcome::Verified(VerifiedToken {
                token,
                token_context,
                now,
                revision: reading.revision(),
                source: Source::Memory(reading.clone()),
            }),
            Err(Unrecognized) => Outcome::Unknown,
        })
    }

    /// Takes the reading after the look-up, and keeps the time between the two open, if a test leaves out a part of V1.
    #[cfg(debug_assertions)]
    async fn read_late(&self, mut remembered: Outcome<VerifiedToken>) -> Outcome<VerifiedToken> {
        if PARTS_OF_V1.into_iter().all(rule::is_kept) {
            return remembered;
        }
        tokio::time::sleep(rule::WINDOW).await;
        if let Outcome::Verified(VerifiedToken {
            revision,
            source: Source::Memory(reading),
            ..
        }) = &mut remembered
        {
            *reading = reading.taken_late(&self.shared.clock);
            *revision = reading.revision();
        }
        remembered
    }

    /// Returns whether `verified` may still be answered: what came from memory needs a lease that runs now (V1).
    pub(crate) fn may_answer(&self, verified: &VerifiedToken) -> bool {
        match &verified.source {
            Source::Memory(reading) => reading.is_current(&self.shared.clock),
            Source::Database => true,
        }
    }

    /// Returns how long the answer may be cached by a client that does not watch, counted from when it sent the request:
    /// what was left of the lease before the look-up (S5). Zero for what was read from the database. Zero, too, in a
    /// process that keeps its memory up to date itself, because its changes would have to wait for such clients.
    pub(crate) fn cacheable_for(&self, verified: &VerifiedToken) -> Duration {
        match (&verified.source, &self.shared.mode) {
            (Source::Memory(reading), _) => self.shared.cacheable_for(reading),
            (Source::Database, Mode::Polled) if !rule::is_kept(Rule::ReadThroughIsNotCached) => LONGER_THAN_A_WAIT,
            (Source::Database, _) => Duration::ZERO,
        }
    }

    /// Keeps time from falling below the expiry that a verdict reports as passed: a clock that is set back later must not
    /// revive the token.
    ///
    /// # Errors
    /// [`ServiceError::Storage`]; then the verdict must not be given.
    pub(crate) async fn note_expired(&self, end: Timestamp) -> Result<(), ServiceError> {
        self.shared.time.reach(end);
        Ok(self.shared.store.raise_time_floor(end).await?)
    }
}

impl Shared {
    pub(super) fn cacheable_for(&self, reading: &Reading) -> Duration {
        match self.mode {
            Mode::Polled => reading.lease,
            Mode::Embedded(_) => Duration::ZERO,
        }
    }
}

impl Issued {
    /// Returns what the database has found. `known` is database time as memory knows it: a verdict from the database must
    /// not be given at an earlier time than one from memory before it.
    fn token(&self, found: Option<TokenSnapshot>, known: Timestamp) -> Outcome<VerifiedToken> {
        let Some(found) = found else {
            return Outcome::Unknown;
        };
        match self.ring.recognize(&self.credential, found.token) {
            Ok(token) => Outcome::Verified(VerifiedToken {
                token,
                token_context: Arc::new(found.token_context),
                now: found.now.max(known),
                revision: found.revision,
                source: Source::Database,
            }),
            Err(Unrecognized) => Outcome::Unknown,
        }
    }
}
