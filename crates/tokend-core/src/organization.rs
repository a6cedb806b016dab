//! Organizations: what workspaces may belong to.

use crate::{
    name::OrganizationId,
    policy::PolicyState,
    row_mac::{MacInput, Sealed},
    text::DisplayName,
    time::Timestamp,
};

/// An organization. It is never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id, permanent.
    pub id: OrganizationId,
    /// What it is called.
    pub display_name: DisplayName,
    /// When it was made.
    pub create_time: Timestamp,
    /// Its policy, which binds the tokens of all of its workspaces.
    pub policy: PolicyState,
}

impl Sealed for Organization {
    const TABLE: &'static str = "organizations";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self { id, display_name: _, create_time, policy } = self;
        input.text(id.as_str());
        input.time(*create_time);
        policy.write_sealed_columns(2, input);
    }
}
