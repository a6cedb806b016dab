//! Many tokens in little time: inserted as CreateToken does it, but many in a transaction, and without a record of each.

use tokend_core::{
    address::AllowedAddresses,
    credential::Kind,
    keyring::KeyRing,
    labels::Labels,
    name::{TokenName, WorkspaceId},
    policy::PolicyState,
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName},
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_server::random;
use tokend_store::{Insert, Store, StoreError, WriteTx};

use crate::Failure;

/// Tokens inserted in one transaction.
const BATCH: usize = 500;

/// Makes a workspace.
///
/// # Errors
/// It can't be stored.
///
/// # Panics
/// If it is there already.
pub async fn make_workspace(store: &Store, id: &WorkspaceId) -> Result<(), Failure> {
    let workspace = Workspace {
        id: id.clone(),
        display_name: DisplayName::new(id.to_string())?,
        organization: None,
        state: WorkspaceState::Active,
        create_time: store.now().await?,
        policy: PolicyState::default(),
    };
    let new: Result<Insert, StoreError> =
        store.write(move |tx| Box::pin(async move { tx.insert_workspace(&workspace).await })).await;
    assert_eq!(new?, Insert::Done, "the database was not empty");
    Ok(())
}

/// Puts `size` tokens into a workspace that is there.
///
/// # Errors
/// They can't be stored.
pub async fn fill(store: &Store, workspace: &WorkspaceId, size: usize) -> Result<(), Failure> {
    let scopes = GrantedScopes::grant(&ScopeCatalog::bitbucket()?, &["repository:write"])?;
    let mut left = size;
    while left > 0 {
        let count = left.min(BATCH);
        left -= count;
        let (ring, id, scopes) = (store.keys(), workspace.clone(), scopes.clone());
        let batch = async move |tx: &WriteTx| {
            for _ in 0..count {
                let token = token(&ring, &id, &scopes, tx).await?;
                assert_eq!(tx.insert_token(&token).await?, Insert::Done, "96 random bits met twice");
            }
            Ok::<_, Failure>(())
        };
        store.write(move |tx| Box::pin(async move { batch(tx).await })).await?;
    }
    Ok(())
}

async fn token(ring: &KeyRing, workspace: &WorkspaceId, scopes: &GrantedScopes, tx: &WriteTx) -> Result<Token, Failure> {
    let minted = random::mint(ring, Kind::WorkspaceToken)?;
    Ok(Token {
        name: TokenName { workspace: workspace.clone(), id: minted.id },
        digest: minted.digest,
        resource: Resource::workspace_itself(workspace),
        display_name: DisplayName::new("ci".to_owned())?,
        description: Description::new(String::new())?,
        scopes: scopes.clone(),
        allowed_addresses: AllowedAddresses::Any,
        labels: Labels::default(),
        create_time: tx.now().await?,
        creator: "admin".parse()?,
        own_expiry: Expiry::Never,
        requested_expiry: Expiry::Never,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
    })
}
