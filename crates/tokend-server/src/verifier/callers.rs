//! Finds callers, by key and by certificate, in memory and in the database.

use std::sync::Arc;

use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Recognized, Unrecognized},
    time::Timestamp,
};
use tokend_store::{CallerKeySnapshot, CertificateSnapshot};

use super::{
    Lane, Verifier,
    memory::{Reading, RememberedKey},
    presented::{Outcome, Presented},
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

impl Reading {
    /// Returns whether memory knows that the caller is still served at `now`. If not, the database says why.
    pub(super) fn serves(&self, caller: &Authenticated, now: Timestamp) -> bool {
        match &caller.credential {
            CallerCredential::Key(id) => self
                .caller_key(*id)
                .is_some_and(|found| caller.is_served(&found.caller, Some(&found.key), now)),
            CallerCredential::Certificate(certificate) => self
                .certificate(certificate.names())
                .is_some_and(|found| caller.is_served(&found, None, now)),
        }
    }
}

impl Verifier {
    /// Returns the caller key that was presented, if memory has it. The caller of a Verify authenticates so (V5).
    pub(crate) fn remembered_caller_key(&self, reading: &Reading, presented: &Presented) -> Option<VerifiedCallerKey> {
        let issued = presented.as_issued()?;
        let found = reading.caller_key(issued.credential.id())?;
        let now = self.shared.now(reading.now);
        let key = issued.ring.recognize(&issued.credential, found.key).ok()?;
        Some(VerifiedCallerKey {
            key,
            caller: found.caller,
            now,
        })
    }

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

    /// Returns the caller that a certificate belongs to and database time, if memory has it.
    pub(crate) fn remembered_certificate(
        &self,
        reading: &Reading,
        certificate: &ClientCertificate,
    ) -> Option<(Arc<Caller>, Timestamp)> {
        let caller = reading.certificate(certificate.names())?;
        Some((caller, self.shared.now(reading.now)))
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
