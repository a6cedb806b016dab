//! The rows of workspaces and organizations.

use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{
    organization::Organization,
    policy::PolicyState,
    row_mac::RowMac,
    text::DisplayName,
    workspace::{Workspace, WorkspaceState},
};

use crate::{
    row::{Row, column, optional_time, time},
    workspaces::tables::{organizations, workspaces},
};

const ACTIVE: &str = "ACTIVE";
const SUSPENDED: &str = "SUSPENDED";
pub(crate) const DELETED: &str = "DELETED";

impl Row for Workspace {
    type Id = String;
    type Model = workspaces::Model;

    fn key(model: &workspaces::Model) -> String {
        model.id.clone()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get(prefix, "id").ok()
    }

    fn mac(model: &workspaces::Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: workspaces::Model) -> Result<Self, String> {
        let workspaces::Model {
            id,
            display_name,
            organization,
            state,
            state_time,
            create_time,
            policy,
            policy_update_time,
            policy_deadlines,
            token_count: _,
            mac: _,
        } = model;
        let state = match (state.as_str(), optional_time("state_time", state_time)?) {
            (ACTIVE, None) => WorkspaceState::Active,
            (SUSPENDED, Some(at)) => WorkspaceState::Suspended { at },
            (DELETED, Some(at)) => WorkspaceState::Deleted { at },
            _ => {
                return Err(format!(
                    "columns state and state_time must be {ACTIVE} without a time, or {SUSPENDED} or {DELETED} with one"
                ));
            }
        };
        Ok(Self {
            id: column("id", id.parse())?,
            display_name: column("display_name", DisplayName::new(display_name))?,
            organization: column(
                "organization",
                organization.map(|organization| organization.parse()).transpose(),
            )?,
            state,
            create_time: time("create_time", create_time)?,
            policy: policy_state(policy, policy_update_time, &policy_deadlines)?,
        })
    }
}

/// Returns the columns to insert or update, without the count of tokens.
pub(crate) fn to_model(workspace: &Workspace, mac: &RowMac) -> workspaces::ActiveModel {
    let Workspace {
        id,
        display_name,
        organization,
        state,
        create_time,
        policy,
    } = workspace;
    let (state, state_time) = match state {
        WorkspaceState::Active => (ACTIVE, None),
        WorkspaceState::Suspended { at } => (SUSPENDED, Some(at)),
        WorkspaceState::Deleted { at } => (DELETED, Some(at)),
    };
    let (policy, policy_update_time, policy_deadlines) = policy_columns(policy);
    workspaces::ActiveModel {
        id: Set(id.to_string()),
        display_name: Set(display_name.to_string()),
        organization: Set(organization.as_ref().map(ToString::to_string)),
        state: Set(state.to_owned()),
        state_time: Set(state_time.map(|time| time.unix_micros())),
        create_time: Set(create_time.unix_micros()),
        policy: Set(policy),
        policy_update_time: Set(policy_update_time),
        policy_deadlines: Set(policy_deadlines),
        mac: Set(mac.to_bytes().to_vec()),
        ..Default::default()
    }
}

impl Row for Organization {
    type Id = String;
    type Model = organizations::Model;

    fn key(model: &organizations::Model) -> String {
        model.id.clone()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get(prefix, "id").ok()
    }

    fn mac(model: &organizations::Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: organizations::Model) -> Result<Self, String> {
        let organizations::Model {
            id,
            display_name,
            create_time,
            policy,
            policy_update_time,
            policy_deadlines,
            mac: _,
        } = model;
        Ok(Self {
            id: column("id", id.parse())?,
            display_name: column("display_name", DisplayName::new(display_name))?,
            create_time: time("create_time", create_time)?,
            policy: policy_state(policy, policy_update_time, &policy_deadlines)?,
        })
    }
}

/// Returns the columns to insert or update.
pub(crate) fn organization_to_model(organization: &Organization, mac: &RowMac) -> organizations::ActiveModel {
    let Organization {
        id,
        display_name,
        create_time,
        policy,
    } = organization;
    let (policy, policy_update_time, policy_deadlines) = policy_columns(policy);
    organizations::ActiveModel {
        id: Set(id.to_string()),
        display_name: Set(display_name.to_string()),
        create_time: Set(create_time.unix_micros()),
        policy: Set(policy),
        policy_update_time: Set(policy_update_time),
        policy_deadlines: Set(policy_deadlines),
        mac: Set(mac.to_bytes().to_vec()),
    }
}

/// Reads the policy columns of an organization or a workspace.
fn policy_state(text: String, update_time: Option<i64>, deadlines: &str) -> Result<PolicyState, String> {
    Ok(PolicyState {
        text,
        update_time: optional_time("policy_update_time", update_time)?,
        deadlines: column("policy_deadlines", deadlines.parse())?,
    })
}

/// Writes the policy columns.
fn policy_columns(state: &PolicyState) -> (String, Option<i64>, String) {
    let PolicyState {
        text,
        update_time,
        deadlines,
    } = state;
    (
        text.clone(),
        update_time.map(|time| time.unix_micros()),
        deadlines.to_string(),
    )
}
