//! Whether a token may be made: what the policies of workspace and organization say of it, and how many tokens work already.

use tokend_core::{
    policy::{Admitted, Asked, Cap, Lifetime, NotAdmitted, Policies, Policy, PolicyName, Source, Violation},
    scope::ScopeCatalog,
    time::Timestamp,
};
use tokend_proto::request::token_admin::CreateToken;
use tokend_store::{Governed, StoreError, WriteTx};

use crate::refusal::{BrokenRule, Refusal};

/// The policies that bind what is made in a workspace. They are locked: nobody changes them before the token is made.
pub(super) struct Binding<'a> {
    workspace: &'a Governed,
    catalog: &'a ScopeCatalog,
    own: Policy,
    organizations: Policy,
}

impl<'a> Binding<'a> {
    /// Those of a workspace that was locked with its policies.
    pub(super) fn of(workspace: &'a Governed, catalog: &'a ScopeCatalog) -> Result<Self, StoreError> {
        Ok(Self { workspace, catalog, own: workspace.policy()?, organizations: workspace.organizations_policy()? })
    }

    /// What they let be made of what is asked for, or every rule that it breaks.
    pub(super) fn admit(&self, asked: &Asked<'_>, now: Timestamp) -> Result<Admitted, Refusal> {
        self.policies().admit(asked, now).map_err(|refused| match refused {
            NotAdmitted::NoExpiry => CreateToken::lacks_expiry().into(),
            NotAdmitted::Violations(violations) => {
                let broken = |Violation { rule, of, remedy }| BrokenRule { rule: rule.field(), policy: self.name(of), remedy };
                Refusal::PolicyViolated(violations.into_iter().map(broken).collect())
            }
        })
    }

    /// How far the end of a token may lie from its making, if they say.
    pub(super) fn max_lifetime(&self) -> Option<Lifetime> {
        self.policies().strictest().max_lifetime
    }

    /// Refuses to add a token that works where as many do as may. The lock on the workspace lets nobody else add one meanwhile.
    pub(super) async fn has_room(&self, tx: &WriteTx, now: Timestamp) -> Result<(), Refusal> {
        let Some(Cap { most, of }) = self.policies().cap() else { return Ok(()) };
        if tx.working_tokens(self.workspace.circumstances(), now, most).await? < most.get().into() {
            return Ok(());
        }
        Err(Refusal::TooManyActiveTokens { workspace: self.workspace.id.clone(), most, policy: self.name(of) })
    }

    const fn policies(&self) -> Policies<'_> {
        Policies { organization: self.organizations.rules(), workspace: self.own.rules(), catalog: self.catalog }
    }

    /// The name of the policy, or of both.
    fn name(&self, of: Source) -> String {
        let own = PolicyName::Workspace(self.workspace.id.clone());
        let whole = self.workspace.organization().map(|organization| PolicyName::Organization(organization.id.clone()));
        match (whole, of) {
            (None, _) | (Some(_), Source::Workspace) => own.to_string(),
            (Some(whole), Source::Organization) => whole.to_string(),
            (Some(whole), Source::Both) => format!("{whole}, {own}"),
        }
    }
}
