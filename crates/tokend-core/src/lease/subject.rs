use std::{fmt, str::FromStr};

use super::SlotKey;
use crate::name::{CallerId, OrganizationId, TokenName, WorkspaceId};

/// What a change is about. Everything in memory about it, or below it, is outdated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One token.
    Token(TokenName),
    /// A workspace with all of its tokens.
    Workspace(WorkspaceId),
    /// An organization with all of its workspaces and their tokens.
    Organization(OrganizationId),
    /// A caller with all of its keys.
    Caller(CallerId),
    /// Which caller a client certificate belongs to, for all certificates.
    Certificates,
}

/// The text names nothing that a change could be about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no token, workspace, organization or caller")]
pub struct MalformedSubject(String);

/// The name of [`Subject::Certificates`].
const CERTIFICATES: &str = "certificates";

impl Subject {
    /// Returns where the subject's slot is.
    #[must_use]
    pub fn slot(&self) -> SlotKey {
        match self {
            Self::Token(name) => SlotKey::of(0, name.id.as_bytes()),
            Self::Workspace(id) => SlotKey::of(1, id),
            Self::Organization(id) => SlotKey::of(2, id),
            Self::Caller(id) => SlotKey::of(3, id),
            Self::Certificates => SlotKey::of(4, ()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => write!(f, "{name}"),
            Self::Workspace(id) => f.write_str(&id.name()),
            Self::Organization(id) => f.write_str(&id.name()),
            Self::Caller(id) => f.write_str(&id.name()),
            Self::Certificates => f.write_str(CERTIFICATES),
        }
    }
}

impl FromStr for Subject {
    type Err = MalformedSubject;

    fn from_str(text: &str) -> Result<Self, MalformedSubject> {
        let malformed = || MalformedSubject(text.to_owned());
        if text == CERTIFICATES {
            return Ok(Self::Certificates);
        }
        match text.split_once('/') {
            Some((WorkspaceId::COLLECTION, rest)) if rest.contains('/') => text.parse().map(Self::Token).ok(),
            Some((WorkspaceId::COLLECTION, _)) => WorkspaceId::from_name(text).map(Self::Workspace).ok(),
            Some((OrganizationId::COLLECTION, _)) => OrganizationId::from_name(text).map(Self::Organization).ok(),
            Some((CallerId::COLLECTION, _)) => CallerId::from_name(text).map(Self::Caller).ok(),
            _ => None,
        }
        .ok_or_else(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::CredentialId;

    #[test]
    fn a_subject_is_read_back_from_its_name() {
        let workspace: WorkspaceId = "acme".parse().expect("an id");
        let subjects = [
            Subject::Token(TokenName {
                workspace: workspace.clone(),
                id: CredentialId::from_bytes([7; CredentialId::BYTES]),
            }),
            Subject::Workspace(workspace),
            Subject::Organization("initech".parse().expect("an id")),
            Subject::Caller("acme".parse().expect("an id")),
            Subject::Certificates,
        ];
        for subject in &subjects {
            assert_eq!(subject.to_string().parse().as_ref(), Ok(subject));
            assert_eq!(
                subjects.iter().filter(|other| other.slot() == subject.slot()).count(),
                1
            );
        }
        for text in ["", "acme", "workspaces/", "workspaces/acme/tokens", "callers/ci/keys/1"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
