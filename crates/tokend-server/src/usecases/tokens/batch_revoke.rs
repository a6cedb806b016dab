//! BatchRevokeTokens: many tokens of one workspace are revoked, in calls and in writes of a bounded size. Other writes
//! come in between.

use tokend_core::{
    credential::CredentialId,
    feed::Revision,
    name::{TokenName, WorkspaceId},
    text::Reason,
    token::{Token, TokenState},
};
use tokend_proto::request::bulk::{BatchRevokeTokens, ChosenTokens};
use tokend_store::{Store, StoreError, StoredToken, TokenPage};

use super::{BATCH, Context, revoke::revoke_locked};
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
};

/// The most tokens that one call revokes.
const MOST_TOKENS: u64 = 1_000;

/// The result of a call, or of a dry run.
pub(crate) struct Revoked {
    /// The tokens that it revoked, as they are now; or would revoke.
    pub(crate) tokens: Vec<StoredToken>,
    /// The number of tokens that are left for further calls.
    pub(crate) remaining: u64,
    /// A dry run has none, because it changes nothing.
    pub(crate) revision: Option<Revision>,
}

/// The tokens to revoke.
struct Found {
    unrevoked: Vec<StoredToken>,
    remaining: u64,
    /// Why one of the tokens can't be read.
    unreadable: Option<StoreError>,
}

/// Revokes the chosen tokens. Those that are revoked already stay as they are.
pub(crate) async fn revoke(
    context: &Context,
    call: CallContext,
    request: BatchRevokeTokens,
) -> Result<Revoked, ServiceError> {
    let BatchRevokeTokens {
        workspace,
        chosen,
        reason,
        validate_only,
        no_wait,
    } = request;
    let wait = Wait::unless(no_wait, context);
    // A dry run only lists tokens, so that it does not use what is reserved for revocations.
    let store = if validate_only {
        context.store.lists()
    } else {
        context.store.reserved()
    };
    let is_named = matches!(chosen, ChosenTokens::Named(_));
    let Found {
        unrevoked,
        remaining,
        unreadable,
    } = find(&store, &workspace, chosen).await?;
    // A token that can't be read keeps no other token from being revoked: it is reported when no other is left.
    if let Some(unreadable) = unreadable.filter(|_| unrevoked.is_empty() || is_named) {
        if !validate_only {
            revoke_each(&store, &call, Wait::No, &workspace, &unrevoked, &reason).await?;
        }
        return Err(unreadable.into());
    }
    if validate_only {
        return Ok(Revoked {
            tokens: unrevoked,
            remaining,
            revision: None,
        });
    }
    let (tokens, revision) = revoke_each(&store, &call, wait.clone(), &workspace, &unrevoked, &reason).await?;
    let revision = match revision {
        Some(revision) => revision,
        None => call.advance_only(&store, wait).await?,
    };
    Ok(Revoked {
        tokens,
        remaining,
        revision: Some(revision),
    })
}

/// Returns the chosen tokens that are not revoked.
async fn find(store: &Store, workspace: &WorkspaceId, chosen: ChosenTokens) -> Result<Found, ServiceError> {
    let absent = || ServiceError::WorkspaceNotFound(workspace.clone());
    let page = match chosen {
        ChosenTokens::Matching(filter) => store
            .unrevoked_tokens(workspace, filter, MOST_TOKENS)
            .await?
            .ok_or_else(absent)?,
        ChosenTokens::Named(ids) => {
            let mut page = store.tokens_by_id(workspace, &ids).await?.ok_or_else(absent)?;
            refuse_absent(workspace, &ids, &page)?;
            let TokenPage {
                tokens,
                token_context,
                now,
                ..
            } = &mut page;
            tokens.retain(|token| {
                token
                    .as_ref()
                    .map_or(true, |token| token.state(token_context, *now) != TokenState::Revoked)
            });
            page.total_size = page.tokens.len() as u64;
            page
        }
    };
    let TokenPage {
        tokens,
        mut usage,
        next: _,
        total_size,
        token_context,
        now,
    } = page;
    let (mut unrevoked, mut unreadable) = (Vec::new(), None);
    for token in tokens {
        match token {
            Ok(token) => unrevoked.push(StoredToken {
                usage: usage.remove(&token.name.id),
                token,
                token_context: token_context.clone(),
                now,
            }),
            Err(error) => unreadable = Some(error),
        }
    }
    Ok(Found {
        remaining: total_size.saturating_sub(unrevoked.len() as u64),
        unrevoked,
        unreadable,
    })
}

/// Refuses the call if one of the named tokens does not exist. Then none is revoked.
fn refuse_absent(workspace: &WorkspaceId, ids: &[CredentialId], page: &TokenPage) -> Result<(), ServiceError> {
    if page.tokens.len() == ids.len() {
        return Ok(());
    }
    let is_there = |id: &CredentialId| page.tokens.iter().flatten().any(|token| token.name.id == *id);
    match ids.iter().find(|id| !is_there(id)) {
        Some(id) => Err(ServiceError::TokenNotFound(TokenName {
            workspace: workspace.clone(),
            id: *id,
        })),
        None => Ok(()),
    }
}

/// Revokes the tokens in writes of a bounded size. Returns those that no other call revoked meanwhile, and the revision
/// of the last write.
async fn revoke_each(
    store: &Store,
    call: &CallContext,
    wait: Wait,
    workspace: &WorkspaceId,
    unrevoked: &[StoredToken],
    reason: &Reason,
) -> Result<(Vec<StoredToken>, Option<Revision>), ServiceError> {
    let (mut revoked, mut latest) = (Vec::with_capacity(unrevoked.len()), None);
    let mut batches = unrevoked.chunks(BATCH);
    while let Some(some) = batches.next() {
        let wait = wait.only_if(batches.len() == 0);
        call.check_deadline()?;
        let chosen: Vec<_> = some
            .iter()
            .map(|stored| (stored.token.name.clone(), stored.usage.clone()))
            .collect();
        let (workspace, reason) = (workspace.clone(), reason.clone());
        let revoke = async move |tx: &Acting<'_>| {
            let locked = tx
                .lock_workspace(&workspace)
                .await?
                .ok_or_else(|| ServiceError::WorkspaceNotFound(workspace.clone()))?;
            let (token_context, now) = (locked.token_context(), tx.now().await?);
            let mut revoked = Vec::with_capacity(chosen.len());
            for (name, usage) in chosen {
                let Some(read) = tx.token(&name).await? else { continue };
                if read.state(token_context, now) != TokenState::Revoked {
                    let token: Token = revoke_locked(tx, &read, now, reason.clone(), Vec::new())
                        .await?
                        .into_inner();
                    revoked.push(StoredToken {
                        token,
                        usage,
                        token_context: token_context.clone(),
                        now,
                    });
                }
            }
            Ok::<_, ServiceError>(revoked)
        };
        let (some, revision) = call.clone().write_advancing(store, wait, revoke).await?;
        revoked.extend(some);
        latest = Some(revision);
    }
    Ok((revoked, latest))
}
