//! Finds out who calls, by caller key, client certificate or both.

use std::{net::IpAddr, sync::Arc};

use tokend_core::{
    caller::{Caller, CallerKeyState},
    log_limit::LogLimit,
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
    verifier::{Lane, Outcome, Presented, Reading, VerifiedCallerKey, Verifier},
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

    /// Returns the caller that the credentials belong to, if `reading` alone says so. Whatever else they are,
    /// [`authenticate`](Self::authenticate) finds out.
    pub(crate) fn remembered(&self, reading: &Reading, credentials: &Credentials<'_>) -> Option<Authenticated> {
        let by_certificate = match &credentials.certificate {
            Some(certificate) => Some((self.remembered_certificate(reading, certificate)?, certificate)),
            None => None,
        };
        match (credentials.key, by_certificate) {
            (PresentedKey::Text(key), by_certificate) => {
                let presented = self.verifier.check(key).ok()?;
                let by_key = self.remembered_key(reading, &presented)?;
                let agree = by_certificate.is_none_or(|(caller, _)| caller.id == by_key.caller.id);
                agree.then_some(by_key)
            }
            (PresentedKey::Absent, Some((caller, certificate))) => Some(Authenticated {
                caller,
                credential: CallerCredential::Certificate(Arc::clone(certificate)),
            }),
            (PresentedKey::Absent, None) | (PresentedKey::Malformed, _) => None,
        }
    }

    /// Returns the caller of the key that was presented, if `reading` has both, and the key works.
    fn remembered_key(&self, reading: &Reading, presented: &Presented) -> Option<Authenticated> {
        let VerifiedCallerKey { key, caller, now } = self.verifier.remembered_caller_key(reading, presented)?;
        let id = key.name.id;
        (key.state(now) == CallerKeyState::Active).then(|| {
            self.usage.note_key(id, now);
            Authenticated {
                caller,
                credential: CallerCredential::Key(id),
            }
        })
    }

    /// Returns the caller that the certificate belongs to, if `reading` has it, and the certificate has not expired.
    fn remembered_certificate(&self, reading: &Reading, certificate: &ClientCertificate) -> Option<Arc<Caller>> {
        let (caller, now) = self.verifier.remembered_certificate(reading, certificate)?;
        (now < certificate.expire_time()).then_some(caller)
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
        let presented = self.verifier.check(key)?;
        let id = presented.id().ok_or(ServiceError::InvalidCredential)?;
        let lane = match from {
            Source::Memory => {
                // Whatever does not work is looked up in the database, which says why.
                let reading = self.verifier.trusted_memory();
                if let Some(remembered) = reading.and_then(|reading| self.remembered_key(&reading, &presented)) {
                    return Ok(remembered);
                }
                Lane::Ordinary
            }
            Source::Database(lane) => lane,
        };
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
        certificate: &ClientCertificate,
        from: Source,
    ) -> Result<Option<Arc<Caller>>, ServiceError> {
        let Some(name) = certificate.names().first() else {
            return Ok(None);
        };
        let lane = match from {
            Source::Memory => {
                let reading = self.verifier.trusted_memory();
                if let Some(caller) = reading.and_then(|reading| self.remembered_certificate(&reading, certificate)) {
                    return Ok(Some(caller));
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
