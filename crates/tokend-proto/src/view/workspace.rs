use tokend_core::{
    name::OrganizationId,
    organization::Organization,
    workspace::{Workspace, WorkspaceState},
};

use crate::{field::time_message, v1};

/// Converts a workspace. `active_token_count` is the number of its tokens that are neither revoked nor expired.
#[must_use]
pub fn workspace_message(workspace: Workspace, active_token_count: u64) -> v1::Workspace {
    let Workspace {
        id,
        display_name,
        organization,
        state,
        create_time,
        policy: _,
    } = workspace;
    let state = match state {
        WorkspaceState::Active => v1::workspace::State::Active,
        WorkspaceState::Suspended { .. } => v1::workspace::State::Suspended,
        WorkspaceState::Deleted { .. } => v1::workspace::State::Deleted,
    };
    v1::Workspace {
        name: id.name(),
        display_name: display_name.into(),
        organization: organization.as_ref().map(OrganizationId::name).unwrap_or_default(),
        state: state.into(),
        create_time: Some(time_message(create_time)),
        active_token_count: i64::try_from(active_token_count).unwrap_or(i64::MAX),
    }
}

/// Converts an organization.
#[must_use]
pub fn organization_message(organization: Organization) -> v1::Organization {
    let Organization {
        id,
        display_name,
        create_time,
        policy: _,
    } = organization;
    v1::Organization {
        name: id.name(),
        display_name: display_name.into(),
        create_time: Some(time_message(create_time)),
    }
}
