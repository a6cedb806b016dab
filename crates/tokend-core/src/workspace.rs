//! Workspaces: every token belongs to one.

use crate::{
    name::{OrganizationId, WorkspaceId},
    policy::PolicyState,
    row_mac::{MacInput, Sealed},
    text::DisplayName,
    time::Timestamp,
};

/// A workspace. Without its row there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The id. It never changes and is never reused.
    pub id: WorkspaceId,
    /// The name that is shown to people.
    pub display_name: DisplayName,
    /// The organization whose policy also binds the workspace. It never changes.
    pub organization: Option<OrganizationId>,
    /// The state of the workspace.
    pub state: WorkspaceState,
    /// When the workspace was created.
    pub create_time: Timestamp,
    /// The workspace's own policy.
    pub policy: PolicyState,
}

/// Whether the tokens of a workspace work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceState {
    /// They work.
    Active,
    /// They do not work until the workspace is resumed.
    Suspended {
        /// When the workspace was suspended.
        at: Timestamp,
    },
    /// They never work again.
    Deleted {
        /// When the workspace was deleted.
        at: Timestamp,
    },
}

/// A deleted workspace can be neither suspended nor resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workspace was permanently deleted")]
pub struct AlreadyDeleted;

impl WorkspaceState {
    /// Returns the state after suspending at `now`. A workspace that is suspended already keeps its time.
    ///
    /// # Errors
    /// [`AlreadyDeleted`].
    pub const fn suspend(self, now: Timestamp) -> Result<Self, AlreadyDeleted> {
        match self {
            Self::Active => Ok(Self::Suspended { at: now }),
            Self::Suspended { .. } => Ok(self),
            Self::Deleted { .. } => Err(AlreadyDeleted),
        }
    }

    /// Returns the state after resuming.
    ///
    /// # Errors
    /// [`AlreadyDeleted`].
    pub const fn resume(self) -> Result<Self, AlreadyDeleted> {
        match self {
            Self::Active | Self::Suspended { .. } => Ok(Self::Active),
            Self::Deleted { .. } => Err(AlreadyDeleted),
        }
    }

    /// Returns the state after deleting at `now`. A workspace that is deleted already keeps its time.
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
        let Self {
            id,
            display_name: _,
            organization,
            state,
            create_time,
            policy,
        } = self;
        input.text(id.as_str());
        input.optional(organization.as_ref(), |input, organization| {
            input.text(organization.as_str())
        });
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
        assert_eq!(deleted.suspend(second), Err(AlreadyDeleted));

        assert_eq!(active.resume(), Ok(active));
        assert_eq!(suspended.resume(), Ok(active));
        assert_eq!(deleted.resume(), Err(AlreadyDeleted));

        assert_eq!(active.delete(first), deleted);
        assert_eq!(suspended.delete(second), WorkspaceState::Deleted { at: second });
        assert_eq!(deleted.delete(second), deleted);
    }
}
