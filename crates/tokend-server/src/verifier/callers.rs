//! Finds callers, by key and by certificate, in memory and in the database.

use std::sync::{Arc, Weak};

use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Recognized, Unrecognized},
    keyring::KeyRing,
    time::Timestamp,
};
use tokend_store::{CallerKeySnapshot, CertificateSnapshot};

use super::{
    Lane, Verifier,
    memory::{Kept, Reading, RememberedKey},
    presented::{Outcome, Presented},
    trusted::Trusted,
};
use crate::{
    auth::{Authenticated, CallerCredential},
    error::ServiceError,
    tls::ClientCertificate,
};

/// A caller key that was presented, and its caller.
#[derive(Debug)]
pub(crate) struct VerifiedCallerKey {
    pub(crate) key: Recognized<Arc<CallerKey>>,
    pub(crate) caller: Arc<Caller>,
    /// Database time.
    pub(crate) now: Timestamp,
}

/// A caller key of which the secret was presented, as memory has it.
#[derive(Debug)]
pub(crate) struct RememberedCallerKey {
    kept: Kept<RememberedKey>,
    /// The key ring that has recognized the secret.
    recognized_by: Weak<KeyRing>,
}

impl RememberedCallerKey {
    pub(crate) fn key(&self) -> &CallerKey {
        &self.kept.value().key
    }

    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.kept.value().caller
    }
}

impl Trusted<'_> {
    /// Returns the caller key that was presented, if memory has it. The caller of a Verify authenticates so (V5).
    pub(crate) fn caller_key(&self, text: &str) -> Option<RememberedCallerKey> {
        let credential = self.keys.authenticate(text).ok()?;
        let kept = self.reading.caller_key(credential.id())?;
        self.keys.recognize(&credential, &*kept.value().key).ok()?;
        Some(RememberedCallerKey {
            kept,
            recognized_by: self.keys.mark(),
        })
    }

    /// Returns whether [`caller_key`](Self::caller_key) would find the same for the same text.
    pub(crate) fn still_has_key(&self, found: &RememberedCallerKey) -> bool {
        self.keys.is(&found.recognized_by) && self.reading.still_has(&found.kept)
    }

    /// Returns the caller that a certificate belongs to, if memory has it.
    pub(crate) fn certificate(&self, certificate: &ClientCertificate) -> Option<Kept<Arc<Caller>>> {
        self.reading.certificate(certificate.names())
    }

    /// Returns whether [`certificate`](Self::certificate) would find the same for the same certificate.
    pub(crate) fn still_has_certificate(&self, found: &Kept<Arc<Caller>>) -> bool {
        self.reading.still_has(found)
    }
}

impl Reading {
    /// Returns whether memory knows that the caller is still served at `now`. If not, the database says why.
    pub(super) fn serves(&self, caller: &Authenticated, now: Timestamp) -> bool {
        match &caller.credential {
            CallerCredential::Key(id) => self
                .caller_key(*id)
                .is_some_and(|found| caller.is_served(&found.value().caller, Some(&found.value().key), now)),
            CallerCredential::Certificate(certificate) => self
                .certificate(certificate.names())
                .is_some_and(|found| caller.is_served(found.value(), None, now)),
        }
    }
}

impl Verifier {
    /// Looks up the caller key that was presented, in the database.
    ///
    /// # Errors
    /// [`ServiceError::Storage`].
    pub(crate) async fn caller_key(
        &self,
        presented: &Presented,
        lane: Lane,
    ) -> Result<Outcome<VerifiedCallerKey>, ServiceError> {
        let Some(issued) = presented.as_issued() else {
            return Ok(Outcome::Foreign);
        };
        let reading = self.shared.memory.reading(None);
        let found = self.store_of(lane).caller_key_snapshot(issued.credential.id()).await?;
        let Some(CallerKeySnapshot {
            key,
            caller,
            now,
            revision,
        }) = found
        else {
            return Ok(Outcome::Unknown);
        };
        let found = RememberedKey {
            key: Arc::new(key),
            caller: Arc::new(caller),
        };
        if let Some(reading) = reading {
            reading.keep_caller_key(&found, revision);
        }
        let RememberedKey { key, caller } = found;
        Ok(match issued.ring.recognize(&issued.credential, key) {
            Ok(key) => Outcome::Verified(VerifiedCallerKey { key, caller, now }),
            Err(Unrecognized) => Outcome::Unknown,
        })
    }

    /// Looks up the callers that the names of a certificate belong to, in the database.
    ///
    /// # Errors
    /// [`ServiceError::Storage`].
    pub(crate) async fn certificate(
        &self,
        certificate: &ClientCertificate,
        lane: Lane,
    ) -> Result<Option<(Vec<Arc<Caller>>, Timestamp)>, ServiceError> {
        let reading = self.shared.memory.reading(None);
        let found = self.store_of(lane).certificate_snapshot(certificate.names()).await?;
        let Some(CertificateSnapshot { callers, now, revision }) = found else {
            return Ok(None);
        };
        let callers: Vec<_> = callers.into_iter().map(Arc::new).collect();
        if let (Some(reading), [caller]) = (reading, &callers[..]) {
            reading.keep_certificate(certificate.names(), caller, revision);
        }
        Ok(Some((callers, now)))
    }
}
