use std::{fmt, net::IpAddr, str::FromStr};

use super::{Chain, EventType, Outcome, RowDigest};
use crate::{
    credential::refuse_secrets,
    name::{CallerId, CallerKeyName, OrganizationId, TokenName, WorkspaceId},
};

/// An event, as a use case reports it. It contains no secret: when the event is recorded, secrets that a client pasted
/// into the reason are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The chain that the event belongs to.
    pub chain: Chain,
    /// The type of the event.
    pub kind: EventType,
    /// Who caused the event.
    pub origin: Origin,
    /// The resource name that the event is about; may be empty.
    pub resource: String,
    /// Whether the change was made or the call refused.
    pub outcome: Outcome,
    /// Why. For a refused call the name of its `ErrorReason`, for a revocation the reason that the caller gave,
    /// otherwise empty.
    pub reason: String,
    /// More information for people; may be empty.
    pub detail: String,
    /// What happened to the stored row of the resource.
    pub row: RowAfter,
}

/// Who caused an event, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The authenticated caller. `None` for an operator at the command line and for tokend's background jobs.
    pub caller: Option<CallerId>,
    /// The end user that the caller says it acts for. Not verified.
    pub actor: Option<Actor>,
    /// The address that the connection came from.
    pub address: Option<IpAddr>,
}

/// What happened to a stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowAfter {
    /// The event is not about a row.
    None,
    /// The row has this digest after the event.
    Is(RowDigest),
    /// The row was deleted.
    Gone,
}

/// The end user that a caller says it acts for: 1 to 128 printable ASCII characters, without a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor(String);

/// The text is not a valid actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {max} printable ASCII characters, and no token or key", max = Actor::MAX_LEN)]
pub struct MalformedActor;

impl Actor {
    /// The most characters.
    pub const MAX_LEN: usize = 128;

    /// Returns the actor as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Actor {
    type Err = MalformedActor;

    fn from_str(text: &str) -> Result<Self, MalformedActor> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || !(1..=Self::MAX_LEN).contains(&text.len()) || refuse_secrets(text).is_err() {
            return Err(MalformedActor);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the part of a client's text that is a valid resource name: the name itself, or that of its parent. Used to
/// record what a refused call was about. Malformed text is dropped, since it may be a misplaced secret.
#[must_use]
pub fn known_name_prefix(text: &str) -> &str {
    if text.parse::<TokenName>().is_ok() || text.parse::<CallerKeyName>().is_ok() {
        return text;
    }
    let end = text.match_indices('/').nth(1).map_or(text.len(), |(second, _)| second);
    let parent = &text[..end];
    let is_name = WorkspaceId::from_name(parent).is_ok()
        || CallerId::from_name(parent).is_ok()
        || OrganizationId::from_name(parent).is_ok();
    if is_name { parent } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_short_and_printable() {
        for good in ["a", "ada@example.org", "cn=Ada Lovelace,ou=~!", &"x".repeat(128)] {
            assert_eq!(
                good.parse::<Actor>().map(|actor| actor.to_string()).as_deref(),
                Ok(good)
            );
        }
        let token = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
        for bad in [
            "",
            "a\n",
            "ä",
            "\u{7f}",
            &"x".repeat(129),
            &token,
            &format!("ada {token}"),
        ] {
            assert_eq!(bad.parse::<Actor>(), Err(MalformedActor), "{bad}");
        }
    }

    #[test]
    fn of_a_name_only_what_is_one_is_kept() {
        for (text, known) in [
            (
                "workspaces/acme/tokens/00000000001000002",
                "workspaces/acme/tokens/00000000001000002",
            ),
            ("callers/ci/keys/00000000001000002", "callers/ci/keys/00000000001000002"),
            ("workspaces/acme/tokens/hunter2", "workspaces/acme"),
            ("workspaces/acme/", "workspaces/acme"),
            ("callers/ci", "callers/ci"),
            ("organizations/initech/tokenPolicy", "organizations/initech"),
            ("workspaces/ACME/tokens/00000000001000002", ""),
            ("workspaces", ""),
            ("tkdw_x", ""),
            ("//", ""),
            ("", ""),
        ] {
            assert_eq!(known_name_prefix(text), known, "{text}");
        }
    }
}
