use crate::{
    name::WorkspaceId,
    organization::Organization,
    policy::Deadlines,
    workspace::{Workspace, WorkspaceState},
};

/// What a token's state depends on besides the token itself: its workspace and the policies that bind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenContext {
    /// The token's workspace.
    pub workspace: WorkspaceId,
    /// The state of the workspace.
    pub state: WorkspaceState,
    /// The deadlines that the policies of the workspace and of its organization set.
    pub deadlines: Deadlines,
}

impl Workspace {
    /// Returns what the tokens of this workspace depend on. `None` if `organization` is not the workspace's own, or is
    /// missing where the workspace has one.
    #[must_use]
    pub fn token_context(&self, organization: Option<&Organization>) -> Option<TokenContext> {
        let deadlines: Deadlines = match (&self.organization, organization) {
            (None, None) => self.policy.deadlines.clone(),
            (Some(id), Some(organization)) if organization.id == *id => {
                self.policy.deadlines.and(&organization.policy.deadlines)
            }
            _ => return None,
        };
        Some(TokenContext {
            workspace: self.id.clone(),
            state: self.state,
            deadlines,
        })
    }
}
