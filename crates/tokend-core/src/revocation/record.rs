use crate::{
    name::{CallerId, CallerKeyName, TokenName, WorkspaceId},
    policy::{PolicyName, PolicyState},
    time::Timestamp,
    token::Revocation,
    workspace::WorkspaceState,
};

/// A change that a restored backup must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationRecord {
    /// A token was revoked.
    Token {
        /// The token.
        name: TokenName,
        /// When, by whom and why it was revoked.
        revocation: Revocation,
    },
    /// A workspace was suspended, resumed or deleted.
    Workspace {
        /// The workspace.
        id: WorkspaceId,
        /// When the workspace was created. It tells workspaces apart if a restored database lacks the newer one and its
        /// id is taken again.
        create_time: Timestamp,
        /// The state after the change.
        state: WorkspaceState,
    },
    /// A token was rotated, so that it expires at the end of the overlap.
    TokenRotated {
        /// The token that was replaced.
        name: TokenName,
        /// When it expires.
        end: Timestamp,
    },
    /// A token policy was updated.
    Policy {
        /// The policy.
        name: PolicyName,
        /// When the organization or workspace was created.
        create_time: Timestamp,
        /// The policy after the change, and the deadlines that it sets for existing tokens.
        state: PolicyState,
    },
    /// A caller was deleted, together with its keys.
    Caller {
        /// The caller.
        id: CallerId,
        /// When the caller was created: its id may be taken again.
        create_time: Timestamp,
        /// When the caller was deleted.
        at: Timestamp,
    },
    /// A caller key was revoked.
    CallerKey {
        /// The key.
        name: CallerKeyName,
        /// When it was revoked.
        at: Timestamp,
    },
}

/// The position of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The epoch in which the change was made.
    pub epoch: u64,
    /// The number of the line in the database, from 1.
    pub position: u64,
}
