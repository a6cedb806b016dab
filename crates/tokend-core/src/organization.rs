//! Organizations: a workspace may belong to one.

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
    /// The id. It never changes.
    pub id: OrganizationId,
    /// The name that is shown to people.
    pub display_name: DisplayName,
    /// When the organization was created.
    pub create_time: Timestamp,
    /// The policy that binds the tokens of all its workspaces.
    pub policy: PolicyState,
}

impl Sealed for Organization {
    const TABLE: &'static str = "organizations";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            id,
            display_name: _,
            create_time,
            policy,
        } = self;
        input.text(id.as_str());
        input.time(*create_time);
        policy.write_sealed_columns(2, input);
    }
}
