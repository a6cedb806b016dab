//! Callers: the backends that call tokend, their roles, and the keys and certificates that authenticate them.

mod certificate_san;

pub use certificate_san::{CertificateSan, MalformedCertificateSan};

use std::collections::BTreeSet;

use crate::{
    credential::{Credential, CredentialId, Kind, SecretDigest},
    name::{CallerId, CallerKeyName, WorkspaceId},
    row_mac::{MacInput, Sealed},
    time::Timestamp,
};

/// A backend that may call tokend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The id.
    pub id: CallerId,
    /// What the caller may do.
    pub role: Role,
    /// The workspaces in which it may do that.
    pub workspaces: WorkspaceAccess,
    /// The names in client certificates that authenticate the caller. Each belongs to one caller only.
    pub certificate_sans: Vec<CertificateSan>,
    /// When the caller was created.
    pub create_time: Timestamp,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything within its workspaces, except for managing callers and organizations.
    WorkspaceAdmin,
    /// See and revoke tokens of any workspace, and list their events. For responders to leaks.
    Revoker,
    /// Read everything.
    Auditor,
    /// Verify tokens.
    Verifier,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Admin,
        Self::WorkspaceAdmin,
        Self::Revoker,
        Self::Auditor,
        Self::Verifier,
    ];

    /// Returns the name in the database and in the contract, there with the prefix `ROLE_`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "ADMIN",
            Self::WorkspaceAdmin => "WORKSPACE_ADMIN",
            Self::Revoker => "REVOKER",
            Self::Auditor => "AUDITOR",
            Self::Verifier => "VERIFIER",
        }
    }

    /// Returns the role with that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// The workspaces in which a caller may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkspaceAccess {
    /// Every workspace, including those created later.
    All,
    /// These workspaces only. Never empty.
    Only(BTreeSet<WorkspaceId>),
}

impl WorkspaceAccess {
    /// Returns whether the caller may act in `workspace`.
    #[must_use]
    pub fn includes(&self, workspace: &WorkspaceId) -> bool {
        match self {
            Self::All => true,
            Self::Only(workspaces) => workspaces.contains(workspace),
        }
    }
}

/// A key by which a caller authenticates. A caller may have several, so that keys can be rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey {
    /// The caller and the key's public id.
    pub name: CallerKeyName,
    /// The digest of the secret.
    pub digest: SecretDigest,
    /// When the key was created.
    pub create_time: Timestamp,
    /// When the key expires.
    pub expire_time: Timestamp,
    /// When the key was revoked, if it was.
    pub revoke_time: Option<Timestamp>,
}

/// The state of a caller key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKeyState {
    /// The key works.
    Active,
    /// The key has expired.
    Expired,
    /// The key was revoked.
    Revoked,
}

impl CallerKey {
    /// Returns the state at `now`. A key is expired when `now >= expire_time`. Revoked takes precedence over expired.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> CallerKeyState {
        match self.revoke_time {
            Some(_) => CallerKeyState::Revoked,
            None if now >= self.expire_time => CallerKeyState::Expired,
            None => CallerKeyState::Active,
        }
    }
}

impl Credential for CallerKey {
    const KIND: Kind = Kind::CallerKey;

    fn id(&self) -> CredentialId {
        self.name.id
    }

    fn digest(&self) -> &SecretDigest {
        &self.digest
    }
}

impl Sealed for Caller {
    const TABLE: &'static str = "callers";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            id,
            role,
            workspaces,
            certificate_sans,
            create_time,
        } = self;
        input.text(id.as_str());
        input.text(role.as_str());
        match workspaces {
            WorkspaceAccess::All => input.number(-1),
            WorkspaceAccess::Only(workspaces) => input.texts(workspaces.iter().map(WorkspaceId::as_str)),
        }
        input.texts(certificate_sans.iter().map(CertificateSan::as_str));
        input.time(*create_time);
    }
}

impl Sealed for CallerKey {
    const TABLE: &'static str = "caller_keys";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            name,
            digest,
            create_time,
            expire_time,
            revoke_time,
        } = self;
        input.text(name.caller.as_str());
        input.bytes(name.id.as_bytes());
        input.number(digest.kid().digit().into());
        input.bytes(digest.as_bytes());
        input.time(*create_time);
        input.time(*expire_time);
        input.optional(*revoke_time, MacInput::time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_roles_round_trip() {
        let words = Role::ALL.map(Role::as_str);
        assert_eq!(words, ["ADMIN", "WORKSPACE_ADMIN", "REVOKER", "AUDITOR", "VERIFIER"]);
        assert_eq!(words.map(Role::from_word), Role::ALL.map(Some));
        for other in ["", "admin", "ROLE_ADMIN", "ADMIN "] {
            assert_eq!(Role::from_word(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_listed_workspaces_are_included() {
        let [acme, acme2]: [WorkspaceId; 2] = ["acme", "acme2"].map(|id| id.parse().expect("well-formed"));
        let only = WorkspaceAccess::Only(BTreeSet::from([acme.clone()]));
        assert!(only.includes(&acme) && !only.includes(&acme2));
        assert!(WorkspaceAccess::All.includes(&acme2));
        assert!(!WorkspaceAccess::Only(BTreeSet::new()).includes(&acme));
    }
}
