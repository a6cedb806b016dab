//! The columns that organizations and workspaces have of their policies.

use tokend_core::policy::PolicyState;

use super::{column, optional_time};

/// What they mean.
pub(super) fn state(text: String, update_time: Option<i64>, deadlines: &str) -> Result<PolicyState, String> {
    Ok(PolicyState {
        text,
        update_time: optional_time("policy_update_time", update_time)?,
        deadlines: column("policy_deadlines", deadlines.parse())?,
    })
}

/// What they hold.
pub(super) fn columns(state: &PolicyState) -> (String, Option<i64>, String) {
    let PolicyState { text, update_time, deadlines } = state;
    (text.clone(), update_time.map(|time| time.unix_micros()), deadlines.to_string())
}
