//! CreateToken.

use std::sync::Arc;

use tokend_core::{
    caller::Caller,
    credential::{Kind, Minted, Secret, SecretDigest},
    name::TokenName,
    policy::{AdmittedToken, RequestedToken},
    scope::ScopeCatalog,
    time::Timestamp,
    token::Token,
};
use tokend_proto::request::token_admin::CreateToken;
use tokend_store::{Insert, StoredToken};

use super::{
    Context, check_workspace_active, expiry_from,
    policy_check::PolicyCheck,
    retries::{find_made, record_made, request_key},
};
use crate::{
    auth::{Acting, CallContext},
    error::ServiceError,
};

/// The name of the RPC in stored request ids.
const CREATE: &str = "CreateToken";

/// A token that was created now, or by an earlier call with the same request id.
pub(crate) struct Created {
    pub(crate) stored: StoredToken,
    /// The secret, which is returned once: not for a repeated call, and not for a dry run.
    pub(crate) secret: Option<Secret>,
    /// Whether this is a dry run that would create a token. The token's name is not used then.
    pub(crate) would_be_new: bool,
}

/// The result of the transaction.
struct Outcome {
    stored: StoredToken,
    is_new: bool,
}

/// Creates a token, or returns the one that an earlier call with the same request id created. With `validate_only` it
/// stores nothing.
pub(crate) async fn create(
    context: &Context,
    call: CallContext,
    request: CreateToken,
) -> Result<Created, ServiceError> {
    let Minted { id, secret, digest } = context.mint(Kind::WorkspaceToken).map_err(ServiceError::NoRandomness)?;
    let name = TokenName {
        workspace: request.workspace.clone(),
        id,
    };
    let (validate_only, catalog) = (request.validate_only, Arc::clone(&context.catalog));
    let create = async move |tx: &Acting<'_>| find_or_insert(tx, &catalog, request, name, digest).await;
    if validate_only {
        let Outcome { stored, is_new } = call.preview(&context.store, create).await?;
        return Ok(Created {
            stored,
            secret: None,
            would_be_new: is_new,
        });
    }
    let Outcome { stored, is_new } = call.write(&context.store, create).await?;
    Ok(Created {
        stored,
        secret: is_new.then_some(secret),
        would_be_new: false,
    })
}

/// Returns the token that an earlier call created, or creates one.
async fn find_or_insert(
    tx: &Acting<'_>,
    catalog: &ScopeCatalog,
    mut request: CreateToken,
    name: TokenName,
    digest: SecretDigest,
) -> Result<Outcome, ServiceError> {
    // The lock makes repeated calls wait for each other: the second one finds the token that the first one created.
    let found = tx.lock_workspace_and_policy(&name.workspace).await?;
    let workspace = found.ok_or_else(|| ServiceError::WorkspaceNotFound(name.workspace.clone()))?;
    let now = tx.now().await?;
    let retry = request
        .retry
        .take()
        .map(|retry| (request_key(tx.acting_caller(), CREATE, &name.workspace, &retry), retry));
    if let Some((key, retry)) = &retry
        && let Some(made) = tx.recorded_request(key).await?
    {
        let token = find_made(tx, retry, made, &name.workspace).await?.into_inner();
        return Ok(Outcome {
            stored: StoredToken {
                token,
                usage: None,
                token_context: workspace.into_parts().1,
                now,
            },
            is_new: false,
        });
    }
    check_workspace_active(&workspace)?;
    let policies = PolicyCheck::new(&workspace, catalog)?;
    let token = new_token(request, name, digest, tx.acting_caller(), &policies, now)?;
    policies.check_token_count(tx, now).await?;
    // An id has 96 random bits. Two that are equal mean that the random source is broken, so nothing is stored.
    if tx.insert_token(&token).await? != Insert::Done {
        return Err(ServiceError::IdTaken(token.name.to_string()));
    }
    if let Some((key, retry)) = retry {
        record_made(tx, key, &retry, &token, now).await?;
    }
    Ok(Outcome {
        stored: StoredToken {
            token,
            usage: None,
            token_context: workspace.into_parts().1,
            now,
        },
        is_new: true,
    })
}

/// Returns the token that the request asks for, as the policies admit it.
fn new_token(
    request: CreateToken,
    name: TokenName,
    digest: SecretDigest,
    caller: &Caller,
    policies: &PolicyCheck<'_>,
    now: Timestamp,
) -> Result<Token, ServiceError> {
    let CreateToken {
        workspace: _,
        display_name,
        description,
        scopes,
        resource,
        expiry,
        allowed_addresses,
        labels,
        retry: _,
        validate_only: _,
    } = request;
    let expiry = expiry.map(|chosen| expiry_from(chosen, now)).transpose()?;
    let asked = RequestedToken {
        expiry,
        scopes: &scopes,
        allowed_addresses: &allowed_addresses,
    };
    let AdmittedToken {
        expiry,
        allowed_addresses,
    } = policies.admit(&asked, now)?;
    Ok(Token {
        name,
        digest,
        resource,
        display_name,
        description,
        scopes,
        allowed_addresses,
        labels,
        create_time: now,
        creator: caller.id.clone(),
        own_expiry: expiry,
        requested_expiry: expiry,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
    })
}
