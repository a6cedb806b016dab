use std::{fmt, net::IpAddr, str::FromStr};

use super::{Chain, EventType, Outcome, RowDigest};
use crate::{
    credential::refuse_secrets,
    name::{CallerId, CallerKeyName, OrganizationId, TokenName, WorkspaceId},
};

/// Something that happened, as a use case says it. Never holds a secret: what a client pasted into a reason is cut when it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The chain that it belongs to.
    pub chain: Chain,
    /// What happened.
    pub kind: EventType,
    /// Who did it.
    pub origin: Origin,
    /// To what: a resource name, or empty.
    pub resource: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Why: of a refusal the name of its `ErrorReason`, of a revocation what the caller gave; else empty.
    pub reason: String,
    /// What else there is to know, for people; may be empty.
    pub detail: String,
    /// What became of the stored row that the resource names.
    pub row: RowAfter,
}

/// Who did something, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The caller that authenticated. None for an operator at the machine, and for what tokend does by itself.
    pub caller: Option<CallerId>,
    /// On whose behalf the caller says to act: asserted, not checked.
    pub actor: Option<Actor>,
    /// The address that the connection came from.
    pub address: Option<IpAddr>,
}

/// What became of a stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowAfter {
    /// The event is about no row.
    None,
    /// The row is now this one.
    Is(RowDigest),
    /// The row is gone.
    Gone,
}

/// The end user on whose behalf a caller says to act: 1 to 128 printable ASCII characters, no credential among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor(String);

/// Text that is no actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {max} printable ASCII characters, and no token or key", max = Actor::MAX_LEN)]
pub struct MalformedActor;

impl Actor {
    /// Most characters.
    pub const MAX_LEN: usize = 128;

    /// The actor as text.
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

/// As much of a name that a client sent as is a resource name: what a refused call asked for. What is ill-formed may be anything, a
/// secret put in the wrong place too, and is left out.
#[must_use]
pub fn known_part_of_name(text: &str) -> &str {
    if text.parse::<TokenName>().is_ok() || text.parse::<CallerKeyName>().is_ok() {
        return text;
    }
    let end = text.match_indices('/').nth(1).map_or(text.len(), |(second, _)| second);
    let parent = &text[..end];
    let is_name =
        WorkspaceId::from_name(parent).is_ok() || CallerId::from_name(parent).is_ok() || OrganizationId::from_name(parent).is_ok();
    if is_name { parent } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_short_and_printable() {
        for good in ["a", "ada@example.org", "cn=Ada Lovelace,ou=~!", &"x".repeat(128)] {
            assert_eq!(good.parse::<Actor>().map(|actor| actor.to_string()).as_deref(), Ok(good));
        }
        let token = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
        for bad in ["", "a\n", "ä", "\u{7f}", &"x".repeat(129), &token, &format!("ada {token}")] {
            assert_eq!(bad.parse::<Actor>(), Err(MalformedActor), "{bad}");
        }
    }

    #[test]
    fn of_a_name_only_what_is_one_is_kept() {
        for (text, known) in [
            ("workspaces/acme/tokens/00000000001000002", "workspaces/acme/tokens/00000000001000002"),
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
            assert_eq!(known_part_of_name(text), known, "{text}");
        }
    }
}
