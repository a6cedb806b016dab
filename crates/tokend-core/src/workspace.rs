//! Workspaces: what tokens belong to.

use crate::{
    name::{OrganizationId, WorkspaceId},
    row_mac::{MacInput, Sealed},
    text::DisplayName,
    time::Timestamp,
};

/// A workspace. Without its row it has no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id, permanent and never used again.
    pub id: WorkspaceId,
    /// What it is called.
    pub display_name: DisplayName,
    /// The organization whose policy also binds it. Permanent.
    pub organization: Option<OrganizationId>,
    /// Whether its tokens work.
    pub state: WorkspaceState,
    /// When it was made.
    pub create_time: Timestamp,
}

/// Whether a workspace's tokens work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceState {
    /// They do.
    Active,
    /// None does until it is resumed.
    Suspended {
        /// Since when.
        at: Timestamp,
    },
    /// None ever will.
    Deleted {
        /// Since when.
        at: Timestamp,
    },
}

impl Sealed for Workspace {
    const TABLE: &'static str = "workspaces";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self { id, display_name: _, organization, state, create_time } = self;
        input.text(id.as_str());
        input.optional(organization.as_ref(), |input, organization| input.text(organization.as_str()));
        let (state, at) = match *state {
            WorkspaceState::Active => (0, None),
            WorkspaceState::Suspended { at } => (1, Some(at)),
            WorkspaceState::Deleted { at } => (2, Some(at)),
        };
        input.number(state);
        input.optional(at, MacInput::time);
        input.time(*create_time);
    }
}
