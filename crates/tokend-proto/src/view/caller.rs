use tokend_core::{
    caller::{Caller, CallerKey, CallerKeyState, Role, WorkspaceAccess},
    credential::{Kind, Prefix, hint},
    name::WorkspaceId,
    time::Timestamp,
};

use crate::{field::time_message, v1};

/// Converts a caller. `keys_work_until` is when the last of its active keys expires, if that is known.
#[must_use]
pub fn caller_message(caller: Caller, keys_work_until: Option<Timestamp>) -> v1::Caller {
    let Caller {
        id,
        role,
        workspaces,
        certificate_sans,
        create_time,
    } = caller;
    let role = match role {
        Role::Admin => v1::Role::Admin,
        Role::WorkspaceAdmin => v1::Role::WorkspaceAdmin,
        Role::Revoker => v1::Role::Revoker,
        Role::Auditor => v1::Role::Auditor,
        Role::Verifier => v1::Role::Verifier,
    };
    let workspaces = match workspaces {
        WorkspaceAccess::All => v1::Selection {
            all: true,
            only: Vec::new(),
        },
        WorkspaceAccess::Only(only) => v1::Selection {
            all: false,
            only: only.iter().map(WorkspaceId::name).collect(),
        },
    };
    v1::Caller {
        name: id.name(),
        role: role.into(),
        workspaces: Some(workspaces),
        certificate_sans: certificate_sans.iter().map(ToString::to_string).collect(),
        create_time: Some(time_message(create_time)),
        keys_expire_time: keys_work_until.map(time_message),
    }
}

/// Converts a caller key, in its state at the database time `now`.
#[must_use]
pub fn caller_key_message(
    key: &CallerKey,
    last_use: Option<Timestamp>,
    now: Timestamp,
    prefix: &Prefix,
) -> v1::CallerKey {
    let state = match key.state(now) {
        CallerKeyState::Active => v1::caller_key::State::Active,
        CallerKeyState::Expired => v1::caller_key::State::Expired,
        CallerKeyState::Revoked => v1::caller_key::State::Revoked,
    };
    let CallerKey {
        name,
        digest,
        create_time,
        expire_time,
        revoke_time: _,
    } = key;
    v1::CallerKey {
        name: name.to_string(),
        create_time: Some(time_message(*create_time)),
        expire_time: Some(time_message(*expire_time)),
        state: state.into(),
        hint: hint(prefix, Kind::CallerKey, digest.kid(), name.id),
        last_used_time: last_use.map(time_message),
    }
}
