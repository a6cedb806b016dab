//! Fast creation of many tokens that are alike: they are inserted as CreateToken does, with their audit events, but many
//! in one transaction.

use std::sync::Arc;

use tokend_core::{
    address::AllowedAddresses,
    credential::{Kind, Secret},
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

use crate::BoxError;

/// Tokens inserted in one transaction.
const BATCH: usize = 500;

/// Creates a workspace.
///
/// # Errors
/// The workspace can't be stored.
///
/// # Panics
/// If the workspace already exists.
pub async fn create_workspace(store: &Store, id: &WorkspaceId) -> Result<(), BoxError> {
    assert_eq!(
        insert_workspace(store, id).await?,
        Insert::Done,
        "the database was not empty"
    );
    Ok(())
}

/// Creates a workspace unless it exists.
///
/// # Errors
/// The workspace can't be stored.
pub async fn insert_workspace(store: &Store, id: &WorkspaceId) -> Result<Insert, BoxError> {
    let workspace = Workspace {
        id: id.clone(),
        display_name: DisplayName::new(id.to_string())?,
        organization: None,
        state: WorkspaceState::Active,
        create_time: store.now().await?,
        policy: PolicyState::default(),
    };
    let new: Result<Insert, StoreError> = store
        .write(async move |tx: &WriteTx| tx.insert_workspace(&workspace).await)
        .await;
    Ok(new?)
}

/// A token that was inserted.
#[derive(Clone)]
pub struct Filled {
    /// The name.
    pub name: TokenName,
    /// The secret, shared by clones.
    pub secret: Arc<Secret>,
}

/// Inserts `size` tokens into an existing workspace.
///
/// # Errors
/// The tokens can't be stored.
pub async fn fill(store: &Store, workspace: &WorkspaceId, size: usize) -> Result<Vec<Filled>, BoxError> {
    let scopes = GrantedScopes::grant(&ScopeCatalog::bitbucket()?, &["repository:write"])?;
    let (mut left, mut filled) = (size, Vec::with_capacity(size));
    while left > 0 {
        let count = left.min(BATCH);
        left -= count;
        let (ring, id, scopes) = (store.keys(), workspace.clone(), scopes.clone());
        let batch = async move |tx: &WriteTx| {
            let mut filled = Vec::with_capacity(count);
            for _ in 0..count {
                let (token, secret) = token(&ring, &id, &scopes, tx).await?;
                assert_eq!(tx.insert_token(&token).await?, Insert::Done, "two random ids are equal");
                filled.push(Filled {
                    name: token.name,
                    secret: Arc::new(secret),
                });
            }
            Ok::<_, BoxError>(filled)
        };
        filled.extend(store.write(batch).await?);
    }
    Ok(filled)
}

async fn token(
    ring: &KeyRing,
    workspace: &WorkspaceId,
    scopes: &GrantedScopes,
    tx: &WriteTx,
) -> Result<(Token, Secret), BoxError> {
    let minted = random::mint(ring, Kind::WorkspaceToken)?;
    let token = Token {
        name: TokenName {
            workspace: workspace.clone(),
            id: minted.id,
        },
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
    };
    Ok((token, minted.secret))
}
