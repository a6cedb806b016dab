//! Checks a token that is to be created against the policies of its workspace and organization.

use tokend_core::{
    policy::{
        AdmissionError, AdmittedToken, Cap, Lifetime, Policies, Policy, PolicyName, RequestedToken, Source, Violation,
    },
    scope::ScopeCatalog,
    time::Timestamp,
};
use tokend_proto::request::token_admin::CreateToken;
use tokend_store::{StoreError, WorkspaceWithPolicy, WriteTx};

use crate::error::{PolicyViolation, ServiceError};

/// The policies that bind a workspace's tokens. They are locked: nobody changes them before the token is stored.
pub(super) struct PolicyCheck<'a> {
    workspace: &'a WorkspaceWithPolicy,
    catalog: &'a ScopeCatalog,
    own: Policy,
    organizations: Policy,
}

impl<'a> PolicyCheck<'a> {
    /// Reads the policies of a workspace that was locked together with them.
    pub(super) fn new(workspace: &'a WorkspaceWithPolicy, catalog: &'a ScopeCatalog) -> Result<Self, StoreError> {
        Ok(Self {
            workspace,
            catalog,
            own: workspace.policy()?,
            organizations: workspace.organizations_policy()?,
        })
    }

    /// Returns the token as the policies admit it.
    ///
    /// # Errors
    /// [`ServiceError::PolicyViolated`] with every rule that the token would break; [`ServiceError::InvalidFields`] if
    /// they require that the client chooses an expiry.
    pub(super) fn admit(&self, asked: &RequestedToken<'_>, now: Timestamp) -> Result<AdmittedToken, ServiceError> {
        self.policies().admit(asked, now).map_err(|refused| match refused {
            AdmissionError::NoExpiry => CreateToken::lacks_expiry().into(),
            AdmissionError::Violations(violations) => {
                let broken = |Violation { rule, source, remedy }| PolicyViolation {
                    rule: rule.field(),
                    policy: self.name(source),
                    remedy,
                };
                ServiceError::PolicyViolated(violations.into_iter().map(broken).collect())
            }
        })
    }

    /// Returns the longest time between a token's creation and its expiry, if the policies limit it.
    pub(super) fn max_lifetime(&self) -> Option<Lifetime> {
        self.policies().strictest().max_lifetime
    }

    /// Refuses one more active token in a workspace that has as many as the policies allow. The lock on the workspace
    /// lets nobody else add one meanwhile.
    pub(super) async fn check_token_count(&self, tx: &WriteTx, now: Timestamp) -> Result<(), ServiceError> {
        let Some(Cap { max, source }) = self.policies().cap() else {
            return Ok(());
        };
        if tx.working_tokens(self.workspace.token_context(), now, max).await? < max.get().into() {
            return Ok(());
        }
        Err(ServiceError::TooManyActiveTokens {
            workspace: self.workspace.id.clone(),
            most: max,
            policy: self.name(source),
        })
    }

    const fn policies(&self) -> Policies<'_> {
        Policies {
            organization: self.organizations.rules(),
            workspace: self.own.rules(),
            catalog: self.catalog,
        }
    }

    /// Returns the name of the policy that has the rule, or the names of both.
    fn name(&self, of: Source) -> String {
        let own = PolicyName::Workspace(self.workspace.id.clone());
        let whole = self
            .workspace
            .organization()
            .map(|organization| PolicyName::Organization(organization.id.clone()));
        match (whole, of) {
            (None, _) | (Some(_), Source::Workspace) => own.to_string(),
            (Some(whole), Source::Organization) => whole.to_string(),
            (Some(whole), Source::Both) => format!("{whole}, {own}"),
        }
    }
}
