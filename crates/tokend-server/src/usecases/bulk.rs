//! Many tokens of one workspace are ended: in calls of a bounded size, and in writes that leave room for others between them.

use tokend_core::{
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
    revision::Revision,
    token::{Token, TokenState},
};
use tokend_proto::request::bulk::{BatchRevokeTokens, ChosenTokens};
use tokend_store::{Store, StoreError, StoredToken, TokenPage};

use super::{Context, leaks::IN_A_WRITE, tokens::end_token};
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// Most tokens that one call ends.
const IN_A_CALL: u64 = 1_000;

/// What a call came to, or would come to.
pub(crate) struct Revoked {
    /// The tokens that it ended, as they are now; or would end.
    pub(crate) tokens: Vec<StoredToken>,
    /// How many are left for further calls.
    pub(crate) remaining: u64,
    /// None of a rehearsal, which changes nothing.
    pub(crate) revision: Option<Revision>,
}

/// What is to be ended.
struct Found {
    living: Vec<StoredToken>,
    remaining: u64,
    /// A token that can't be judged.
    bad: Option<StoreError>,
}

/// Ends the chosen tokens. Those that were ended before stay as they are.
pub(crate) async fn revoke(context: &Context, act: Act, request: BatchRevokeTokens) -> Result<Revoked, Refusal> {
    // Every verdict reads the database: there is no cache to wait for.
    let BatchRevokeTokens { workspace, chosen, reason, validate_only, no_wait: _ } = request;
    // A rehearsal is a list, and has no part in what is reserved for revocations.
    let store = if validate_only { context.store.lists() } else { context.store.reserved() };
    let is_named = matches!(chosen, ChosenTokens::Named(_));
    let Found { living, remaining, bad } = find(&store, &workspace, chosen).await?;
    // What can't be judged keeps no other token alive: it is told when nothing else is left.
    if let Some(bad) = bad.filter(|_| living.is_empty() || is_named) {
        if !validate_only {
            end_each(&store, &act, &workspace, &living, &reason).await?;
        }
        return Err(bad.into());
    }
    if validate_only {
        return Ok(Revoked { tokens: living, remaining, revision: None });
    }
    let (tokens, revision) = end_each(&store, &act, &workspace, &living, &reason).await?;
    let revision = match revision {
        Some(revision) => revision,
        None => act.advance_only(&store).await?,
    };
    Ok(Revoked { tokens, remaining, revision: Some(revision) })
}

async fn find(store: &Store, workspace: &WorkspaceId, chosen: ChosenTokens) -> Result<Found, Refusal> {
    let absent = || Refusal::WorkspaceNotFound(workspace.clone());
    let page = match chosen {
        ChosenTokens::Matching(filter) => store.living_tokens(workspace, filter, IN_A_CALL).await?.ok_or_else(absent)?,
        ChosenTokens::Named(ids) => {
            let mut page = store.tokens_of_ids(workspace, &ids).await?.ok_or_else(absent)?;
            refuse_absent(workspace, &ids, &page)?;
            let TokenPage { tokens, circumstances, now, .. } = &mut page;
            tokens.retain(|token| token.as_ref().map_or(true, |token| token.state(circumstances, *now) != TokenState::Revoked));
            page.total_size = page.tokens.len() as u64;
            page
        }
    };
    let TokenPage { tokens, mut usage, next: _, total_size, circumstances, now } = page;
    let (mut living, mut bad) = (Vec::new(), None);
    for token in tokens {
        match token {
            Ok(token) => {
                living.push(StoredToken { usage: usage.remove(&token.name.id), token, circumstances: circumstances.clone(), now })
            }
            Err(error) => bad = Some(error),
        }
    }
    Ok(Found { remaining: total_size.saturating_sub(living.len() as u64), living, bad })
}

/// Names are all there, or nothing is done.
fn refuse_absent(workspace: &WorkspaceId, ids: &[CredentialId], page: &TokenPage) -> Result<(), Refusal> {
    if page.tokens.len() == ids.len() {
        return Ok(());
    }
    let is_there = |id: &CredentialId| page.tokens.iter().flatten().any(|token| token.name.id == *id);
    match ids.iter().find(|id| !is_there(id)) {
        Some(id) => Err(Refusal::TokenNotFound(TokenName { workspace: workspace.clone(), id: *id })),
        None => Ok(()),
    }
}

/// Ends them in writes of a bounded size, and tells those that no other call ended meanwhile.
async fn end_each(
    store: &Store,
    act: &Act,
    workspace: &WorkspaceId,
    living: &[StoredToken],
    reason: &tokend_core::text::Reason,
) -> Result<(Vec<StoredToken>, Option<Revision>), Refusal> {
    let (mut ended, mut latest) = (Vec::with_capacity(living.len()), None);
    for some in living.chunks(IN_A_WRITE) {
        let chosen: Vec<_> = some.iter().map(|stored| (stored.token.name.clone(), stored.usage.clone())).collect();
        let (workspace, reason) = (workspace.clone(), reason.clone());
        let end = async move |tx: &Acting<'_>| {
            let locked = tx.lock_workspace(&workspace).await?.ok_or_else(|| Refusal::WorkspaceNotFound(workspace.clone()))?;
            let (circumstances, now) = (locked.circumstances(), tx.now().await?);
            let mut ended = Vec::with_capacity(chosen.len());
            for (name, usage) in chosen {
                let Some(read) = tx.token(&name).await? else { continue };
                if read.state(circumstances, now) != TokenState::Revoked {
                    let token: Token = end_token(tx, &read, now, reason.clone(), String::new()).await?.into_inner();
                    ended.push(StoredToken { token, usage, circumstances: circumstances.clone(), now });
                }
            }
            Ok::<_, Refusal>(ended)
        };
        let (some, revision) = act.clone().write_advancing(store, move |tx| Box::pin(async move { end(tx).await })).await?;
        ended.extend(some);
        latest = Some(revision);
    }
    Ok((ended, latest))
}
