use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{
    row_mac::RowMac,
    text::DisplayName,
    workspace::{Workspace, WorkspaceState},
};

use super::{Row, column, optional_time, policy, time};
use crate::entity::workspaces::{ActiveModel, Model};

const ACTIVE: &str = "ACTIVE";
const SUSPENDED: &str = "SUSPENDED";
pub(crate) const DELETED: &str = "DELETED";

impl Row for Workspace {
    type Id = String;
    type Model = Model;

    fn key(model: &Model) -> String {
        model.id.clone()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get(prefix, "id").ok()
    }

    fn mac(model: &Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: Model) -> Result<Self, String> {
        let Model {
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
            organization: column("organization", organization.map(|organization| organization.parse()).transpose())?,
            state,
            create_time: time("create_time", create_time)?,
            policy: policy::state(policy, policy_update_time, &policy_deadlines)?,
        })
    }
}

/// The row to insert, or to put in place of another. Leaves the count of tokens alone.
pub(crate) fn to_model(workspace: &Workspace, mac: &RowMac) -> ActiveModel {
    let Workspace { id, display_name, organization, state, create_time, policy } = workspace;
    let (state, state_time) = match state {
        WorkspaceState::Active => (ACTIVE, None),
        WorkspaceState::Suspended { at } => (SUSPENDED, Some(at)),
        WorkspaceState::Deleted { at } => (DELETED, Some(at)),
    };
    let (policy, policy_update_time, policy_deadlines) = policy::columns(policy);
    ActiveModel {
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
