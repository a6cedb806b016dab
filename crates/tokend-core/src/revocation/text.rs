use serde::{Deserialize, Serialize};

use super::RevocationRecord;
use crate::{
    name::{CallerId, WorkspaceId},
    policy::PolicyState,
    text::Reason,
    time::Timestamp,
    token::Revocation,
    workspace::WorkspaceState,
};

/// The JSON form of a record. Times are microseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub(super) enum RevocationText {
    #[serde(rename = "token.revoked")]
    Token {
        name: String,
        time: i64,
        by: String,
        reason: String,
    },
    #[serde(rename = "workspace.suspended")]
    WorkspaceSuspended { name: String, time: i64, create_time: i64 },
    #[serde(rename = "workspace.resumed")]
    WorkspaceResumed { name: String, create_time: i64 },
    #[serde(rename = "workspace.deleted")]
    WorkspaceDeleted { name: String, time: i64, create_time: i64 },
    #[serde(rename = "token.rotated")]
    TokenRotated { name: String, end: i64 },
    #[serde(rename = "policy.updated")]
    Policy {
        name: String,
        time: Option<i64>,
        create_time: i64,
        policy: String,
        deadlines: String,
    },
    #[serde(rename = "caller.deleted")]
    Caller { name: String, time: i64, create_time: i64 },
    #[serde(rename = "caller_key.revoked")]
    CallerKey { name: String, time: i64 },
}

impl RevocationText {
    pub(super) fn of(record: &RevocationRecord) -> Self {
        match record {
            RevocationRecord::Token {
                name,
                revocation: Revocation { at, by, reason },
            } => Self::Token {
                name: name.to_string(),
                time: at.unix_micros(),
                by: by.to_string(),
                reason: reason.as_str().to_owned(),
            },
            RevocationRecord::Workspace { id, create_time, state } => {
                let (name, create_time) = (id.name(), create_time.unix_micros());
                match *state {
                    WorkspaceState::Active => Self::WorkspaceResumed { name, create_time },
                    WorkspaceState::Suspended { at } => Self::WorkspaceSuspended {
                        name,
                        time: at.unix_micros(),
                        create_time,
                    },
                    WorkspaceState::Deleted { at } => Self::WorkspaceDeleted {
                        name,
                        time: at.unix_micros(),
                        create_time,
                    },
                }
            }
            RevocationRecord::TokenRotated { name, end } => Self::TokenRotated {
                name: name.to_string(),
                end: end.unix_micros(),
            },
            RevocationRecord::Policy {
                name,
                create_time,
                state:
                    PolicyState {
                        text,
                        update_time,
                        deadlines,
                    },
            } => Self::Policy {
                name: name.to_string(),
                time: update_time.map(Timestamp::unix_micros),
                create_time: create_time.unix_micros(),
                policy: text.clone(),
                deadlines: deadlines.to_string(),
            },
            RevocationRecord::Caller { id, create_time, at } => Self::Caller {
                name: id.name(),
                time: at.unix_micros(),
                create_time: create_time.unix_micros(),
            },
            RevocationRecord::CallerKey { name, at } => Self::CallerKey {
                name: name.to_string(),
                time: at.unix_micros(),
            },
        }
    }

    pub(super) fn into_record(self) -> Option<RevocationRecord> {
        let time = |micros| Timestamp::from_unix_micros(micros).ok();
        let workspace = |name: String, create_time, state| {
            Some(RevocationRecord::Workspace {
                id: WorkspaceId::from_name(&name).ok()?,
                create_time: time(create_time)?,
                state,
            })
        };
        Some(match self {
            Self::Token {
                name,
                time: at,
                by,
                reason,
            } => RevocationRecord::Token {
                name: name.parse().ok()?,
                revocation: Revocation {
                    at: time(at)?,
                    by: by.parse().ok()?,
                    reason: Reason::new(reason).ok()?,
                },
            },
            Self::WorkspaceSuspended {
                name,
                time: at,
                create_time,
            } => workspace(name, create_time, WorkspaceState::Suspended { at: time(at)? })?,
            Self::WorkspaceResumed { name, create_time } => workspace(name, create_time, WorkspaceState::Active)?,
            Self::WorkspaceDeleted {
                name,
                time: at,
                create_time,
            } => workspace(name, create_time, WorkspaceState::Deleted { at: time(at)? })?,
            Self::TokenRotated { name, end } => RevocationRecord::TokenRotated {
                name: name.parse().ok()?,
                end: time(end)?,
            },
            Self::Policy {
                name,
                time: at,
                create_time,
                policy: text,
                deadlines,
            } => {
                // The policy is parsed only where it is applied, so that a policy from a later version does not block
                // reading the file.
                let update_time = match at {
                    Some(at) => Some(time(at)?),
                    None => None,
                };
                let state = PolicyState {
                    text,
                    update_time,
                    deadlines: deadlines.parse().ok()?,
                };
                RevocationRecord::Policy {
                    name: name.parse().ok()?,
                    create_time: time(create_time)?,
                    state,
                }
            }
            Self::Caller {
                name,
                time: at,
                create_time,
            } => RevocationRecord::Caller {
                id: CallerId::from_name(&name).ok()?,
                create_time: time(create_time)?,
                at: time(at)?,
            },
            Self::CallerKey { name, time: at } => RevocationRecord::CallerKey {
                name: name.parse().ok()?,
                at: time(at)?,
            },
        })
    }
}
