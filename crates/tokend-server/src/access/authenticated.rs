//! A caller that authenticated is checked again later, because a call may wait long after that.

use std::sync::Arc;

use tokend_core::{
    caller::{Caller, CallerKeyState},
    credential::CredentialId,
    time::Timestamp,
};
use tokend_store::{CallerNow, CallerRef, Store};

use crate::{refusal::Refusal, tls::ClientCertificate};

/// What a caller authenticated with.
#[derive(Clone, Debug)]
pub(crate) enum CallerCredential {
    /// A caller key.
    Key(CredentialId),
    /// A client certificate, and no key.
    Certificate(Arc<ClientCertificate>),
}

/// A caller that authenticated: an extension of every request that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    /// The caller, as it was when it authenticated.
    pub(crate) caller: Arc<Caller>,
    /// What it authenticated with.
    pub(crate) credential: CallerCredential,
}

/// Why a caller that authenticated is not served any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The key was revoked, the caller was deleted, or what it may do was changed.
    Credential,
    /// The key expired.
    KeyExpired(Timestamp),
    /// The client certificate expired.
    CertificateExpired,
}

impl Authenticated {
    /// Returns what to look up in order to check whether the caller is still served.
    pub(crate) fn reference(&self) -> CallerRef {
        let key = match self.credential {
            CallerCredential::Key(key) => Some(key),
            CallerCredential::Certificate(_) => None,
        };
        CallerRef { caller: self.caller.id.clone(), key }
    }

    /// Decides whether the caller is still served, from what the database has of it now.
    ///
    /// # Errors
    /// [`Ended`].
    pub(crate) fn check(&self, now: &CallerNow) -> Result<(), Ended> {
        // Another caller of the same id is not the one that was let in.
        if now.caller.as_ref() != Some(&*self.caller) {
            return Err(Ended::Credential);
        }
        match &self.credential {
            CallerCredential::Certificate(certificate) if now.now >= certificate.expire_time() => Err(Ended::CertificateExpired),
            CallerCredential::Certificate(_) => Ok(()),
            CallerCredential::Key(_) => match now.key.as_ref().map(|key| (key.state(now.now), key.expire_time)) {
                Some((CallerKeyState::Active, _)) => Ok(()),
                Some((CallerKeyState::Expired, at)) => Err(Ended::KeyExpired(at)),
                Some((CallerKeyState::Revoked, _)) | None => Err(Ended::Credential),
            },
        }
    }
}

impl Ended {
    /// Returns the refusal that authentication gives such a caller.
    pub(crate) async fn refusal(self, store: &Store) -> Refusal {
        match self {
            Self::Credential => Refusal::InvalidCredential,
            Self::CertificateExpired => Refusal::CertificateExpired,
            // A clock that is set back later must not revive a key that was reported as expired.
            Self::KeyExpired(at) => match store.raise_time_floor(at).await {
                Ok(()) => Refusal::InvalidCredential,
                Err(error) => error.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use tokend_core::{
        caller::{CallerKey, Role, WorkspaceAccess},
        credential::{Kid, SecretDigest},
        name::CallerKeyName,
    };

    use super::*;

    const ID: [u8; CredentialId::BYTES] = [7; CredentialId::BYTES];

    fn caller() -> Caller {
        Caller {
            id: "ci".parse().expect("an id"),
            role: Role::WorkspaceAdmin,
            workspaces: WorkspaceAccess::Only(BTreeSet::from(["acme".parse().expect("an id")])),
            certificate_sans: Vec::new(),
            create_time: Timestamp::UNIX_EPOCH,
        }
    }

    fn key() -> CallerKey {
        let kid: Kid = "1".parse().expect("a kid");
        CallerKey {
            name: CallerKeyName { caller: caller().id, id: CredentialId::from_bytes(ID) },
            digest: SecretDigest::from_stored(kid, [0; SecretDigest::BYTES]),
            create_time: Timestamp::UNIX_EPOCH,
            expire_time: at(60),
            revoke_time: None,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH.plus(Duration::from_secs(seconds)).expect("a time")
    }

    fn checked(caller: Option<Caller>, key: Option<CallerKey>, now: Timestamp) -> Result<(), Ended> {
        let credential = CallerCredential::Key(CredentialId::from_bytes(ID));
        Authenticated { caller: Arc::new(self::caller()), credential }.check(&CallerNow { caller, key, now })
    }

    #[test]
    fn a_caller_is_served_as_long_as_it_and_its_key_are_what_they_were() {
        assert_eq!(checked(Some(caller()), Some(key()), at(59)), Ok(()));
        assert_eq!(checked(Some(caller()), Some(key()), at(60)), Err(Ended::KeyExpired(at(60))));
        let revoked = CallerKey { revoke_time: Some(at(1)), ..key() };
        assert_eq!(checked(Some(caller()), Some(revoked.clone()), at(2)), Err(Ended::Credential));
        assert_eq!(checked(Some(caller()), Some(revoked), at(60)), Err(Ended::Credential));
        assert_eq!(checked(Some(caller()), None, at(2)), Err(Ended::Credential));
        assert_eq!(checked(None, None, at(2)), Err(Ended::Credential));
    }

    #[test]
    fn a_caller_that_may_do_something_else_now_is_not_the_one_that_was_let_in() {
        let others = [
            Caller { role: Role::Admin, ..caller() },
            Caller { workspaces: WorkspaceAccess::All, ..caller() },
            Caller { create_time: at(1), ..caller() },
            Caller { certificate_sans: vec!["spiffe://example.org/ci".parse().expect("a name")], ..caller() },
        ];
        for other in others {
            assert_eq!(checked(Some(other), Some(key()), at(2)), Err(Ended::Credential));
        }
    }
}
