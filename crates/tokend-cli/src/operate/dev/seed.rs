//! What a developer finds: a workspace, and a caller that may ask for verdicts.

use tokend_client::{Client, v1};
use tokend_core::credential::Secret;

use crate::failure::Failure;

/// The workspace's name.
pub(super) const WORKSPACE: &str = "workspaces/acme";
const VERIFIER: &str = "callers/verifier";

/// What was made.
pub(super) struct Seeded {
    pub(super) verifier_key: Secret,
}

pub(super) async fn seed(admin: &Client) -> Result<Seeded, Failure> {
    let workspace =
        v1::CreateWorkspaceRequest { workspace_id: "acme".to_owned(), display_name: "Acme".to_owned(), ..Default::default() };
    admin.workspace_admin().create_workspace(workspace).await?;
    let verifier = v1::CreateCallerRequest {
        caller_id: "verifier".to_owned(),
        role: v1::Role::Verifier.into(),
        workspaces: Some(v1::Selection { all: true, only: Vec::new() }),
        ..Default::default()
    };
    admin.caller_admin().create_caller(verifier).await?;
    let key = v1::CreateCallerKeyRequest { parent: VERIFIER.to_owned(), ttl: None };
    let key = admin.caller_admin().create_caller_key(key).await?.into_inner();
    Ok(Seeded { verifier_key: Secret::new(key.secret) })
}
