//! A caller that authenticated is checked again later, because a call may wait long after that.

use std::sync::Arc;

use tokend_core::{
    caller::{Caller, CallerKey, CallerKeyState},
    credential::CredentialId,
    time::Timestamp,
};
use tokend_store::{CallerRef, CurrentCaller, Store};

use crate::{error::ServiceError, tls::ClientCertificate};

/// What a caller authenticated with.
#[derive(Clone, Debug)]
pub(crate) enum CallerCredential {
    /// A caller key.
    Key(CredentialId),
    /// A client certificate, and no key.
    Certificate(Arc<ClientCertificate>),
}

/// A caller that has authenticated. Every request that was let in carries one.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    /// The caller, as it was when it authenticated.
    pub(crate) caller: Arc<Caller>,
    /// What it authenticated with.
    pub(crate) credential: CallerCredential,
}

/// Why an authenticated caller is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalidated {
    /// The key was revoked, or the caller was deleted or changed.
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
        CallerRef {
            caller: self.caller.id.clone(),
            key,
        }
    }

    /// Returns whether the caller is still served, from what is known of it at `now`.
    pub(crate) fn is_served(&self, caller: &Caller, key: Option<&CallerKey>, now: Timestamp) -> bool {
        self.check_parts(Some(caller), key, now).is_ok()
    }

    /// Decides whether the caller is still served, from what the database has of it now.
    ///
    /// # Errors
    /// [`Invalidated`].
    pub(crate) fn check(&self, now: &CurrentCaller) -> Result<(), Invalidated> {
        self.check_parts(now.caller.as_ref(), now.key.as_ref(), now.now)
    }

    fn check_parts(&self, caller: Option<&Caller>, key: Option<&CallerKey>, now: Timestamp) -> Result<(), Invalidated> {
        // A new caller with the same id is another caller. Most often both are the same value in memory.
        let is_same = caller.is_some_and(|caller| std::ptr::eq(caller, &*self.caller) || *caller == *self.caller);
        if !is_same {
            return Err(Invalidated::Credential);
        }
        match &self.credential {
            CallerCredential::Certificate(certificate) if now >= certificate.expire_time() => {
                Err(Invalidated::CertificateExpired)
            }
            CallerCredential::Certificate(_) => Ok(()),
            CallerCredential::Key(_) => match key.map(|key| (key.state(now), key.expire_time)) {
                Some((CallerKeyState::Active, _)) => Ok(()),
                Some((CallerKeyState::Expired, at)) => Err(Invalidated::KeyExpired(at)),
                Some((CallerKeyState::Revoked, _)) | None => Err(Invalidated::Credential),
            },
        }
    }
}

impl Invalidated {
    /// Returns the error that authentication returns for such a caller.
    pub(crate) async fn into_error(self, store: &Store) -> ServiceError {
        match self {
            Self::Credential => ServiceError::InvalidCredential,
            Self::CertificateExpired => ServiceError::CertificateExpired,
            // A clock that is set back later must not revive a key that was reported as expired.
            Self::KeyExpired(at) => match store.raise_time_floor(at).await {
                Ok(()) => ServiceError::InvalidCredential,
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
            name: CallerKeyName {
                caller: caller().id,
                id: CredentialId::from_bytes(ID),
            },
            digest: SecretDigest::from_stored(kid, [0; SecretDigest::BYTES]),
            create_time: Timestamp::UNIX_EPOCH,
            expire_time: at(60),
            revoke_time: None,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH
            .plus(Duration::from_secs(seconds))
            .expect("a time")
    }

    fn checked(caller: Option<Caller>, key: Option<CallerKey>, now: Timestamp) -> Result<(), Invalidated> {
        let credential = CallerCredential::Key(CredentialId::from_bytes(ID));
        Authenticated {
            caller: Arc::new(self::caller()),
            credential,
        }
        .check(&CurrentCaller { caller, key, now })
    }

    #[test]
    fn a_caller_is_served_as_long_as_it_and_its_key_are_what_they_were() {
        assert_eq!(checked(Some(caller()), Some(key()), at(59)), Ok(()));
        assert_eq!(
            checked(Some(caller()), Some(key()), at(60)),
            Err(Invalidated::KeyExpired(at(60)))
        );
        let revoked = CallerKey {
            revoke_time: Some(at(1)),
            ..key()
        };
        assert_eq!(
            checked(Some(caller()), Some(revoked.clone()), at(2)),
            Err(Invalidated::Credential)
        );
        assert_eq!(
            checked(Some(caller()), Some(revoked), at(60)),
            Err(Invalidated::Credential)
        );
        assert_eq!(checked(Some(caller()), None, at(2)), Err(Invalidated::Credential));
        assert_eq!(checked(None, None, at(2)), Err(Invalidated::Credential));
    }

    #[test]
    fn a_caller_that_may_do_something_else_now_is_not_the_one_that_was_let_in() {
        let others = [
            Caller {
                role: Role::Admin,
                ..caller()
            },
            Caller {
                workspaces: WorkspaceAccess::All,
                ..caller()
            },
            Caller {
                create_time: at(1),
                ..caller()
            },
            Caller {
                certificate_sans: vec!["spiffe://example.org/ci".parse().expect("a name")],
                ..caller()
            },
        ];
        for other in others {
            assert_eq!(checked(Some(other), Some(key()), at(2)), Err(Invalidated::Credential));
        }
    }
}
