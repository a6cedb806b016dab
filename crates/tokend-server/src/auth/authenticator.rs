//! Finds out who calls, by caller key, client certificate or both.

use std::{net::IpAddr, sync::Arc};

use tokend_core::{
    caller::{Caller, CallerKeyState},
    log_limit::LogLimit,
    time::Timestamp,
};
use tokend_store::Store;

use super::{
    Authenticated, CallerCredential,
    failed_authentications::FailedAuthentications,
    look_ups::{LookUpKey, LookUps},
};
use crate::{
    error::ServiceError,
    tls::ClientCertificate,
    usage::UsageRecorder,
    verifier::{Kept, Lane, Outcome, RememberedCallerKey, Trusted, Verifier},
};

/// Authenticates callers.
#[derive(Debug)]
pub(crate) struct Authenticator {
    store: Store,
    verifier: Verifier,
    failures: FailedAuthentications,
    usage: Arc<UsageRecorder>,
    /// Limits log lines about expired keys.
    expired_keys: LogLimit,
    /// The look-ups by the ordinary lane, and those by the reserved one.
    look_ups: LookUps,
    reserved_look_ups: LookUps,
}

/// What a request presents to show who calls.
#[derive(Clone, Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) key: PresentedKey<'a>,
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    /// The address that the request came from.
    pub(crate) address: Option<IpAddr>,
}

/// Where a caller is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In memory, if it may be trusted, and otherwise in the database. Only for calls for verdicts, which change nothing
    /// (V5).
    Memory,
    /// In the database.
    Database(Lane),
}

/// The caller key of a request.
#[derive(Clone, Copy)]
pub(crate) enum PresentedKey<'a> {
    /// The request has none.
    Absent,
    /// The request has one, which may be anything.
    Text(&'a str),
    /// The request has something else where a key belongs.
    Malformed,
}

/// A caller whom memory knows by what it presented.
#[derive(Debug)]
pub(crate) enum RememberedCaller {
    /// By its key. The certificate, if it presented one, is its, too.
    ByKey(RememberedCallerKey, Option<Kept<Arc<Caller>>>),
    /// By its certificate alone.
    ByCertificate(Kept<Arc<Caller>>),
}

impl RememberedCaller {
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        match self {
            Self::ByKey(key, _) => key.caller(),
            Self::ByCertificate(caller) => caller.value(),
        }
    }
}

impl Authenticator {
    pub(crate) fn new(
        store: Store,
        settings: &tokend_store::StoreSettings,
        verifier: Verifier,
        failures: FailedAuthentications,
        usage: Arc<UsageRecorder>,
        expired_keys: LogLimit,
    ) -> Self {
        // As many look-ups at once as the lane has connections to the database: more would only wait for one, in front
        // of others. In the reserved lane one connection stays free.
        let (ordinary, reserved) = (
            settings.max_connections,
            settings.reserved_connections.saturating_sub(1),
        );
        Self {
            verifier,
            store,
            failures,
            usage,
            expired_keys,
            look_ups: LookUps::new(ordinary),
            reserved_look_ups: LookUps::new(reserved),
        }
    }

    /// Returns the caller that the credentials belong to.
    ///
    /// # Errors
    /// One of the [`ServiceError`]s about credentials; [`ServiceError::Overloaded`] if too many look-ups of the same
    /// credential wait; [`ServiceError::Storage`].
    pub(crate) async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        from: Source,
    ) -> Result<Authenticated, ServiceError> {
        let address = credentials.address;
        let authenticated = self.caller(credentials, from).await;
        authenticated.map_err(|error| self.count_failure(error, address))
    }

    /// Returns the caller that the credentials belong to, if `memory` alone says so. Whatever else they are,
    /// [`authenticate`](Self::authenticate) finds out.
    pub(crate) fn remembered(memory: &Trusted<'_>, credentials: &Credentials<'_>) -> Option<RememberedCaller> {
        let certificate = credentials.certificate.as_deref();
        let by_certificate = match certificate {
            Some(certificate) => Some(memory.certificate(certificate)?),
            None => None,
        };
        let found = match (credentials.key, by_certificate) {
            (PresentedKey::Text(key), by_certificate) => {
                let by_key = memory.caller_key(key)?;
                let agree = by_certificate
                    .as_ref()
                    .is_none_or(|by_certificate| by_certificate.value().id == by_key.caller().id);
                agree.then_some(RememberedCaller::ByKey(by_key, by_certificate))?
            }
            (PresentedKey::Absent, Some(caller)) => RememberedCaller::ByCertificate(caller),
            (PresentedKey::Absent, None) | (PresentedKey::Malformed, _) => return None,
        };
        Self::still_serves(memory, &found, certificate).then_some(found)
    }

    /// Returns whether [`remembered`](Self::remembered) would return the same caller for the same credentials.
    pub(crate) fn still_serves(
        memory: &Trusted<'_>,
        caller: &RememberedCaller,
        certificate: Option<&ClientCertificate>,
    ) -> bool {
        let (key, by_certificate) = match caller {
            RememberedCaller::ByKey(key, by_certificate) => (Some(key), by_certificate.as_ref()),
            RememberedCaller::ByCertificate(caller) => (None, Some(caller)),
        };
        let is_active = |found: &RememberedCallerKey| found.key().state(memory.now) == CallerKeyState::Active;
        key.is_none_or(|found| memory.still_has_key(found) && is_active(found))
            && by_certificate.is_none_or(|found| memory.still_has_certificate(found))
            && certificate.is_none_or(|certificate| memory.now < certificate.expire_time())
    }

    /// Records the use of the caller's key, if it has presented one.
    pub(crate) fn note_use(&self, caller: &RememberedCaller, now: Timestamp) {
        if let RememberedCaller::ByKey(found, _) = caller {
            self.usage.note_key(found.key().name.id, now);
        }
    }

    /// Counts a key that does not work, and asks the client to wait if its source presents many. A missing key is no
    /// guess, nor is a certificate, which the handshake verified.
    fn count_failure(&self, error: ServiceError, address: Option<IpAddr>) -> ServiceError {
        let (ServiceError::InvalidCredential, Some(address)) = (&error, address) else {
            return error;
        };
        match self.failures.count(address.into()) {
            Some(wait) => ServiceError::TooManyFailedAuthentications { wait },
            None => error,
        }
    }

    /// A key that is presented must work whatever the certificate says, and a certificate that belongs to a caller must
    /// belong to the key's. A certificate that belongs to nobody proves nothing: where a mesh gives every workload a
    /// certificate, keys go on working.
    async fn caller(&self, credentials: Credentials<'_>, from: Source) -> Result<Authenticated, ServiceError> {
        let Credentials {
            key,
            certificate,
            address: _,
        } = credentials;
        let by_key = match key {
            PresentedKey::Absent => None,
            PresentedKey::Text(key) => Some(self.caller_by_key(key, from).await?),
            PresentedKey::Malformed => return Err(ServiceError::InvalidCredential),
        };
        let by_certificate = match &certificate {
            Some(certificate) => self.caller_by_certificate(certificate, from).await?,
            None => None,
        };
        match (by_key, by_certificate, certificate) {
            (Some(by_key), Some(by_certificate), _) if by_key.caller.id != by_certificate.id => {
                Err(ServiceError::CredentialsDisagree)
            }
            (Some(by_key), ..) => Ok(by_key),
            (None, Some(caller), Some(certificate)) => Ok(Authenticated {
                caller,
                credential: CallerCredential::Certificate(certificate),
            }),
            (None, None, Some(_)) => Err(ServiceError::CertificateOfNobody),
            (None, _, None) => Err(ServiceError::MissingCredential),
        }
    }

    async fn caller_by_key(&self, key: &str, from: Source) -> Result<Authenticated, ServiceError> {
        let lane = match from {
            Source::Memory => {
                // Whatever does not work is looked up in the database, which says why.
                if let Some(remembered) = self.remembered_by(PresentedKey::Text(key), None) {
                    return Ok(remembered);
                }
                Lane::Ordinary
            }
            Source::Database(lane) => lane,
        };
        let presented = self.verifier.check(key)?;
        let id = presented.id().ok_or(ServiceError::InvalidCredential)?;
        let _turn = self
            .look_ups(lane)
            .turn(LookUpKey::CallerKey(id))
            .await
            .ok_or(ServiceError::Overloaded)?;
        let verified = match self.verifier.caller_key(&presented, lane).await? {
            Outcome::Verified(verified) => verified,
            Outcome::Foreign | Outcome::Unknown => return Err(ServiceError::InvalidCredential),
        };
        let (key, now) = (verified.key, verified.now);
        match key.state(now) {
            CallerKeyState::Active => {
                self.usage.note_key(id, now);
                Ok(Authenticated {
                    caller: verified.caller,
                    credential: CallerCredential::Key(id),
                })
            }
            CallerKeyState::Revoked => Err(ServiceError::InvalidCredential),
            CallerKeyState::Expired => {
                if let Some(more) = self.expired_keys.permit() {
                    let (caller, expire_time) = (verified.caller.id.name(), key.expire_time);
                    tracing::warn!(caller, key = %key.name, %expire_time, more, "a caller used an expired key");
                }
                // A clock that is set back later must not revive a key that was reported as expired.
                self.store_of(lane).raise_time_floor(key.expire_time).await?;
                Err(ServiceError::InvalidCredential)
            }
        }
    }

    /// Returns the caller that the certificate belongs to, if there is one.
    async fn caller_by_certificate(
        &self,
        certificate: &Arc<ClientCertificate>,
        from: Source,
    ) -> Result<Option<Arc<Caller>>, ServiceError> {
        let Some(name) = certificate.names().first() else {
            return Ok(None);
        };
        let lane = match from {
            Source::Memory => {
                let certificate = Some(Arc::clone(certificate));
                if let Some(remembered) = self.remembered_by(PresentedKey::Absent, certificate) {
                    return Ok(Some(remembered.caller));
                }
                Lane::Ordinary
            }
            Source::Database(lane) => lane,
        };
        let _turn = self
            .look_ups(lane)
            .turn(LookUpKey::Certificate(name.clone()))
            .await
            .ok_or(ServiceError::Overloaded)?;
        let Some((mut callers, now)) = self.verifier.certificate(certificate, lane).await? else {
            return Ok(None);
        };
        // The handshake checked this; the connection may have lived longer than the certificate.
        if now >= certificate.expire_time() {
            return Err(ServiceError::CertificateExpired);
        }
        match (callers.pop(), callers.is_empty()) {
            (caller, true) => Ok(caller),
            (_, false) => Err(ServiceError::CertificateOfSeveral),
        }
    }

    /// Returns the caller to whom this belongs, if memory says so.
    fn remembered_by(
        &self,
        key: PresentedKey<'_>,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> Option<Authenticated> {
        let credentials = Credentials {
            key,
            certificate,
            address: None,
        };
        let memory = self.verifier.trusted_memory()?;
        let found = Self::remembered(&memory, &credentials)?;
        self.note_use(&found, memory.now);
        let credential = match &found {
            RememberedCaller::ByKey(key, _) => CallerCredential::Key(key.key().name.id),
            RememberedCaller::ByCertificate(_) => CallerCredential::Certificate(credentials.certificate?),
        };
        Some(Authenticated {
            caller: Arc::clone(found.caller()),
            credential,
        })
    }

    const fn look_ups(&self, lane: Lane) -> &LookUps {
        match lane {
            Lane::Ordinary => &self.look_ups,
            Lane::Reserved => &self.reserved_look_ups,
        }
    }

    fn store_of(&self, lane: Lane) -> Store {
        match lane {
            Lane::Ordinary => self.store.clone(),
            Lane::Reserved => self.store.reserved(),
        }
    }
}

impl std::fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Text(_) => "Text",
            Self::Malformed => "Malformed",
        })
    }
}
