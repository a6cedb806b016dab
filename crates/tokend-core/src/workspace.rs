//! Workspaces: what tokens belong to.

use crate::{
    name::{OrganizationId, WorkspaceId},
    organization::Organization,
    policy::{Deadlines, PolicyState},
    row_mac::{MacInput, Sealed},
    text::DisplayName,
    time::Timestamp,
    token::Circumstances,
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
    /// Its own policy.
    pub policy: PolicyState,
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

/// A deleted workspace is neither suspended nor resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workspace was deleted, which is for good")]
pub struct DeletedForGood;

impl Workspace {
    /// What its tokens' lives depend on. `None` if `organization` is not the one that it belongs to.
    #[must_use]
    pub fn circumstances(&self, organization: Option<&Organization>) -> Option<Circumstances> {
        let deadlines: Deadlines = match (&self.organization, organization) {
            (None, None) => self.policy.deadlines.clone(),
            (Some(id), Some(organization)) if organization.id == *id => self.policy.deadlines.and(&organization.policy.deadlines),
            _ => return None,
        };
        Some(Circumstances { workspace: self.id.clone(), state: self.state, deadlines })
    }
}

impl WorkspaceState {
    /// The state after it is suspended at `now`. One that is suspended already stays so since when it was.
    ///
    /// # Errors
    /// [`DeletedForGood`].
    pub const fn suspend(self, now: Timestamp) -> Result<Self, DeletedForGood> {
        match self {
            Self::Active => Ok(Self::Suspended { at: now }),
            Self::Suspended { .. } => Ok(self),
            Self::Deleted { .. } => Err(DeletedForGood),
        }
    }

    /// The state after it is resumed.
    ///
    /// # Errors
    /// [`DeletedForGood`].
    pub const fn resume(self) -> Result<Self, DeletedForGood> {
        match self {
            Self::Active | Self::Suspended { .. } => Ok(Self::Active),
            Self::Deleted { .. } => Err(DeletedForGood),
        }
    }

    /// The state after it is deleted at `now`. One that was deleted before stays so since when it was.
    #[must_use]
    pub const fn delete(self, now: Timestamp) -> Self {
        match self {
            Self::Active | Self::Suspended { .. } => Self::Deleted { at: now },
            Self::Deleted { .. } => self,
        }
    }
}

impl Sealed for Workspace {
    const TABLE: &'static str = "workspaces";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self { id, display_name: _, organization, state, create_time, policy } = self;
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
        policy.write_sealed_columns(2, input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_is_for_good_and_a_repetition_changes_nothing() {
        let at = |micros| Timestamp::from_unix_micros(micros).expect("a time");
        let (first, second) = (at(1), at(2));
        let (active, suspended) = (WorkspaceState::Active, WorkspaceState::Suspended { at: first });
        let deleted = WorkspaceState::Deleted { at: first };

        assert_eq!(active.suspend(first), Ok(suspended));
        assert_eq!(suspended.suspend(second), Ok(suspended));
        assert_eq!(deleted.suspend(second), Err(DeletedForGood));

        assert_eq!(active.resume(), Ok(active));
        assert_eq!(suspended.resume(), Ok(active));
        assert_eq!(deleted.resume(), Err(DeletedForGood));

        assert_eq!(active.delete(first), deleted);
        assert_eq!(suspended.delete(second), WorkspaceState::Deleted { at: second });
        assert_eq!(deleted.delete(second), deleted);
    }
}
