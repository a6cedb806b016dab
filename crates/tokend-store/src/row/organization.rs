use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{organization::Organization, row_mac::RowMac, text::DisplayName};

use super::{Row, column, policy, time};
use crate::entity::organizations::{ActiveModel, Model};

impl Row for Organization {
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
        let Model { id, display_name, create_time, policy, policy_update_time, policy_deadlines, mac: _ } = model;
        Ok(Self {
            id: column("id", id.parse())?,
            display_name: column("display_name", DisplayName::new(display_name))?,
            create_time: time("create_time", create_time)?,
            policy: policy::state(policy, policy_update_time, &policy_deadlines)?,
        })
    }
}

/// The row to insert, or to put in place of another.
pub(crate) fn to_model(organization: &Organization, mac: &RowMac) -> ActiveModel {
    let Organization { id, display_name, create_time, policy } = organization;
    let (policy, policy_update_time, policy_deadlines) = policy::columns(policy);
    ActiveModel {
        id: Set(id.to_string()),
        display_name: Set(display_name.to_string()),
        create_time: Set(create_time.unix_micros()),
        policy: Set(policy),
        policy_update_time: Set(policy_update_time),
        policy_deadlines: Set(policy_deadlines),
        mac: Set(mac.to_bytes().to_vec()),
    }
}
