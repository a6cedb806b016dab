//! What ended for good, as a line of text that is kept outside the database: a restored backup learns from it what it must not revive.
//! So that suspended workspaces stay suspended, and tokens stay ended that a policy has ended, every change of a workspace's state and of a
//! policy is such a line, too; the last one counts.
//!
//! A line is a JSON object with a MAC over every other field. Lines of one epoch count up without a gap, so that one that is missing
//! is missed; only those behind the last can't be.

use serde::{Deserialize, Serialize};

use crate::{
    credential::Kid,
    keyring::KeyRing,
    name::{CallerId, CallerKeyName, TokenName, WorkspaceId},
    policy::{PolicyName, PolicyState},
    row_mac::MacInput,
    text::Reason,
    time::Timestamp,
    token::Revocation,
    workspace::WorkspaceState,
};

/// What ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A token was revoked.
    Token {
        /// Which.
        name: TokenName,
        /// When, by whom and why.
        revocation: Revocation,
    },
    /// A workspace was suspended, resumed or deleted.
    Workspace {
        /// Which.
        id: WorkspaceId,
        /// When it had been made: an id that is lost with a newer database is taken again.
        create_time: Timestamp,
        /// What it is since.
        state: WorkspaceState,
    },
    /// A token's end was brought forward, to the end of the overlap in which it was replaced.
    TokenRotated {
        /// Which.
        name: TokenName,
        /// From when on it is expired.
        end: Timestamp,
    },
    /// A token policy was set.
    Policy {
        /// Which.
        name: PolicyName,
        /// When the organization or workspace had been made.
        create_time: Timestamp,
        /// The policy since, and what binds tokens that there were.
        state: PolicyState,
    },
    /// A caller was deleted, its keys with it.
    Caller {
        /// Which.
        id: CallerId,
        /// When it had been made: its id may be taken again.
        create_time: Timestamp,
        /// When it was deleted.
        at: Timestamp,
    },
    /// A caller's key was revoked.
    CallerKey {
        /// Which.
        name: CallerKeyName,
        /// When.
        at: Timestamp,
    },
}

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The epoch in which it happened.
    pub epoch: u64,
    /// Counts the endings of the database, from 1.
    pub position: u64,
}

/// Text that is no such line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEnding {
    /// Not JSON, or not its fields.
    #[error("it is not a line of tokend's")]
    Malformed,
    /// Written by a later version of tokend.
    #[error("it was written by a later version of tokend")]
    Later,
    /// Its MAC was made with a key that is not at hand.
    #[error("it was sealed with key {0}, which the key ring does not have")]
    KeyLacked(Kid),
    /// Somebody changed it.
    #[error("it was changed after tokend had written it")]
    Tampered,
}

const VERSION: u32 = 1;
const TABLE: &str = "endings";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    version: u32,
    epoch: u64,
    position: u64,
    ending: EndingText,
    kid: String,
    mac: String,
}

/// Times are microseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
enum EndingText {
    #[serde(rename = "token.revoked")]
    Token { name: String, time: i64, by: String, reason: String },
    #[serde(rename = "workspace.suspended")]
    WorkspaceSuspended { name: String, time: i64, create_time: i64 },
    #[serde(rename = "workspace.resumed")]
    WorkspaceResumed { name: String, create_time: i64 },
    #[serde(rename = "workspace.deleted")]
    WorkspaceDeleted { name: String, time: i64, create_time: i64 },
    #[serde(rename = "token.rotated")]
    TokenRotated { name: String, end: i64 },
    #[serde(rename = "policy.updated")]
    Policy { name: String, time: Option<i64>, create_time: i64, policy: String, deadlines: String },
    #[serde(rename = "caller.deleted")]
    Caller { name: String, time: i64, create_time: i64 },
    #[serde(rename = "caller_key.revoked")]
    CallerKey { name: String, time: i64 },
}

/// Read first: what a later version added must not hide that it is later.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl KeyRing {
    /// The line of an ending, without an end of line. Nothing secret is in it.
    #[must_use]
    pub fn write_ending(&self, place: Place, ending: &Ending) -> String {
        let kid = self.active_kid();
        // The active key is always at hand.
        let mac = self.ending_mac(kid, place, ending).unwrap_or(blake3::Hash::from_bytes([0; blake3::OUT_LEN]));
        let line = Line {
            version: VERSION,
            epoch: place.epoch,
            position: place.position,
            ending: EndingText::of(ending),
            kid: kid.to_string(),
            mac: mac.to_hex().to_string(),
        };
        // Numbers and texts: nothing that JSON could not say.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads a line, whichever key of the ring sealed it, a retired one too.
    ///
    /// # Errors
    /// [`NotAnEnding`].
    pub fn read_ending(&self, line: &str) -> Result<(Place, Ending), NotAnEnding> {
        let Versioned { version } = serde_json::from_str(line).map_err(|_| NotAnEnding::Malformed)?;
        if version != VERSION {
            return Err(NotAnEnding::Later);
        }
        let Line { version: _, epoch, position, ending, kid, mac } =
            serde_json::from_str(line).map_err(|_| NotAnEnding::Malformed)?;
        let (place, ending) = (Place { epoch, position }, ending.understand().ok_or(NotAnEnding::Malformed)?);
        let kid: Kid = kid.parse().map_err(|_| NotAnEnding::Malformed)?;
        let mac = blake3::Hash::from_hex(&mac).map_err(|_| NotAnEnding::Malformed)?;
        match self.ending_mac(kid, place, &ending) {
            None => Err(NotAnEnding::KeyLacked(kid)),
            Some(ours) if ours == mac => Ok((place, ending)),
            Some(_) => Err(NotAnEnding::Tampered),
        }
    }

    fn ending_mac(&self, kid: Kid, place: Place, ending: &Ending) -> Option<blake3::Hash> {
        let mut input = MacInput::new(self.ending_key(kid)?, TABLE, 1);
        input.bytes(&place.epoch.to_le_bytes());
        input.bytes(&place.position.to_le_bytes());
        match ending {
            Ending::Token { name, revocation: Revocation { at, by, reason } } => {
                input.text("token");
                input.text(&name.to_string());
                input.time(*at);
                input.text(by.as_str());
                input.text(reason.as_str());
            }
            Ending::Workspace { id, create_time, state } => {
                let (state, at) = match *state {
                    WorkspaceState::Active => ("workspace resumed", None),
                    WorkspaceState::Suspended { at } => ("workspace suspended", Some(at)),
                    WorkspaceState::Deleted { at } => ("workspace deleted", Some(at)),
                };
                input.text(state);
                input.text(id.as_str());
                input.time(*create_time);
                input.optional(at, MacInput::time);
            }
            Ending::TokenRotated { name, end } => {
                input.text("token rotated");
                input.text(&name.to_string());
                input.time(*end);
            }
            Ending::Policy { name, create_time, state: PolicyState { text, update_time, deadlines } } => {
                input.text("policy");
                input.text(&name.to_string());
                input.time(*create_time);
                input.text(text);
                input.optional(*update_time, MacInput::time);
                input.text(&deadlines.to_string());
            }
            Ending::Caller { id, create_time, at } => {
                input.text("caller");
                input.text(id.as_str());
                input.time(*create_time);
                input.time(*at);
            }
            Ending::CallerKey { name, at } => {
                input.text("caller key");
                input.text(&name.to_string());
                input.time(*at);
            }
        }
        Some(input.finish().0)
    }
}

impl EndingText {
    fn of(ending: &Ending) -> Self {
        match ending {
            Ending::Token { name, revocation: Revocation { at, by, reason } } => Self::Token {
                name: name.to_string(),
                time: at.unix_micros(),
                by: by.to_string(),
                reason: reason.as_str().to_owned(),
            },
            Ending::Workspace { id, create_time, state } => {
                let (name, create_time) = (id.name(), create_time.unix_micros());
                match *state {
                    WorkspaceState::Active => Self::WorkspaceResumed { name, create_time },
                    WorkspaceState::Suspended { at } => Self::WorkspaceSuspended { name, time: at.unix_micros(), create_time },
                    WorkspaceState::Deleted { at } => Self::WorkspaceDeleted { name, time: at.unix_micros(), create_time },
                }
            }
            Ending::TokenRotated { name, end } => Self::TokenRotated { name: name.to_string(), end: end.unix_micros() },
            Ending::Policy { name, create_time, state: PolicyState { text, update_time, deadlines } } => Self::Policy {
                name: name.to_string(),
                time: update_time.map(Timestamp::unix_micros),
                create_time: create_time.unix_micros(),
                policy: text.clone(),
                deadlines: deadlines.to_string(),
            },
            Ending::Caller { id, create_time, at } => {
                Self::Caller { name: id.name(), time: at.unix_micros(), create_time: create_time.unix_micros() }
            }
            Ending::CallerKey { name, at } => Self::CallerKey { name: name.to_string(), time: at.unix_micros() },
        }
    }

    fn understand(self) -> Option<Ending> {
        let time = |micros| Timestamp::from_unix_micros(micros).ok();
        let workspace = |name: String, create_time, state| {
            Some(Ending::Workspace { id: WorkspaceId::from_name(&name).ok()?, create_time: time(create_time)?, state })
        };
        Some(match self {
            Self::Token { name, time: at, by, reason } => Ending::Token {
                name: name.parse().ok()?,
                revocation: Revocation { at: time(at)?, by: by.parse().ok()?, reason: Reason::new(reason).ok()? },
            },
            Self::WorkspaceSuspended { name, time: at, create_time } => {
                workspace(name, create_time, WorkspaceState::Suspended { at: time(at)? })?
            }
            Self::WorkspaceResumed { name, create_time } => workspace(name, create_time, WorkspaceState::Active)?,
            Self::WorkspaceDeleted { name, time: at, create_time } => {
                workspace(name, create_time, WorkspaceState::Deleted { at: time(at)? })?
            }
            Self::TokenRotated { name, end } => Ending::TokenRotated { name: name.parse().ok()?, end: time(end)? },
            Self::Policy { name, time: at, create_time, policy: text, deadlines } => {
                // Read where it is applied: what a later version wrote is known by then.
                let update_time = match at {
                    Some(at) => Some(time(at)?),
                    None => None,
                };
                let state = PolicyState { text, update_time, deadlines: deadlines.parse().ok()? };
                Ending::Policy { name: name.parse().ok()?, create_time: time(create_time)?, state }
            }
            Self::Caller { name, time: at, create_time } => {
                Ending::Caller { id: CallerId::from_name(&name).ok()?, create_time: time(create_time)?, at: time(at)? }
            }
            Self::CallerKey { name, time: at } => Ending::CallerKey { name: name.parse().ok()?, at: time(at)? },
        })
    }
}
