//! The changes of a run, each of which ends something.

use std::{sync::Arc, time::Duration};

use tokend_client::v1::{TokenPolicy, token_policy::ExistingTokens};
use tokend_tests::max_lifetime;
use tokio::time::sleep;

use super::{
    create::{self, TOKENS},
    ending::Ending,
};
use crate::{
    call::Call,
    history::{Effect, TokenId, WorkspaceId},
    lab::Lab,
    random::Random,
};

/// The number of verifying callers that always remain.
const LEAST_KEYS: usize = 4;
/// A lifetime that has passed when the policy is committed.
const AT_ONCE: Duration = Duration::from_micros(1);
/// An overlap, or a lifetime under a policy, after which a token is expected to be dead.
const SOON: Duration = Duration::from_millis(400);
/// How often something is attempted without which a workspace can't be used any more.
const ATTEMPTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// What ends, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Revoke,
    BatchRevoke,
    BatchRevokeGroup,
    RevokeLeaked,
    /// Rotates a token without an overlap.
    Rotate,
    /// Rotates a token with an overlap, and then its successor, which ends both.
    RotateChain,
    /// Rotates a token with a short overlap.
    RotateSoon,
    /// Suspends a workspace, and resumes it.
    Suspend,
    /// Applies a policy to a workspace's tokens that ends them at once, and removes it.
    Limit,
    /// Applies a policy that ends them soon, and removes it.
    LimitSoon,
    /// Applies a policy to an organization's tokens that ends them at once, and removes it.
    LimitOrganization,
    /// Deletes a workspace.
    Delete,
    RevokeKey,
    DeleteCaller,
}

/// Ends one thing after the other, and creates others instead.
pub(super) async fn keep_changing(lab: Arc<Lab>, mut random: Random) {
    while !lab.is_ending() {
        restock(&lab, &mut random).await;
        let act = random.weighted(&lab.mix.acts);
        perform(&lab, act, &mut random).await;
        sleep(random.millis(1, 40)).await;
    }
}

/// Creates a token in a workspace that has few.
async fn restock(lab: &Lab, random: &mut Random) {
    let workspace = {
        let world = lab.world();
        let few = |workspace: &&WorkspaceId| world.workspaces[workspace.0].live.len() < TOKENS;
        let lacking: Vec<_> = world.open_workspaces().iter().filter(few).copied().collect();
        random.of(&lacking).copied()
    };
    if let Some(workspace) = workspace {
        for _ in 0..2 {
            create::token(lab, random, workspace, None).await;
        }
    }
}

async fn perform(lab: &Arc<Lab>, act: Act, random: &mut Random) {
    match act {
        Act::Revoke | Act::BatchRevoke | Act::RevokeLeaked => revoke(lab, act, random).await,
        Act::BatchRevokeGroup => revoke_group(lab, random).await,
        Act::Rotate => rotate(lab, random, Duration::ZERO).await,
        Act::RotateSoon => rotate(lab, random, SOON).await,
        Act::RotateChain => rotate_chain(lab, random).await,
        Act::Suspend => suspend(lab, random).await,
        Act::Limit => limit_workspace(lab, random, AT_ONCE).await,
        Act::LimitSoon => limit_workspace(lab, random, SOON).await,
        Act::LimitOrganization => limit_organization(lab, random).await,
        Act::Delete => delete(lab, random).await,
        Act::RevokeKey | Act::DeleteCaller => end_caller(lab, act, random).await,
    }
}

async fn revoke(lab: &Arc<Lab>, act: Act, random: &mut Random) {
    let most = if act == Act::Revoke { 1 } else { 3 };
    let tokens = lab.world().take_tokens(random, most);
    let Some(first) = tokens.first() else { return };
    let call = {
        let world = lab.world();
        let names = || tokens.iter().map(|token| world.token_name(*token).to_owned());
        match act {
            Act::Revoke => Call::Revoke {
                name: world.token_name(*first).to_owned(),
            },
            Act::BatchRevoke => Call::BatchRevoke {
                parent: world.workspaces[world.workspace_of(*first).0].name.clone(),
                names: names().collect(),
            },
            _ => Call::RevokeLeaked {
                secrets: tokens.iter().map(|token| world.secret(*token).to_owned()).collect(),
            },
        }
    };
    end(Effect::Revoke(tokens.clone()), call, tokens)
        .carry_out(lab, random)
        .await;
}

fn end(effect: Effect, call: Call, tokens: Vec<TokenId>) -> Ending {
    Ending {
        effect,
        call,
        tokens,
        key: None,
        after: Duration::ZERO,
    }
}

/// Revokes the tokens with a label.
async fn revoke_group(lab: &Arc<Lab>, random: &mut Random) {
    let Some(workspace) = random.of(lab.world().open_workspaces()).copied() else {
        return;
    };
    let group = format!("g{}", lab.next_id());
    let mut tokens = Vec::new();
    for _ in 0..3 {
        if let Some(token) = create::token(lab, random, workspace, Some(&group)).await {
            lab.world().take_token(token);
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        return;
    }
    let parent = lab.world().workspaces[workspace.0].name.clone();
    let call = Call::BatchRevokeGroup { parent, group };
    end(Effect::Revoke(tokens.clone()), call, tokens)
        .carry_out(lab, random)
        .await;
}

/// Rotates a token that expires after `overlap`. Every repeat has the same request id.
async fn rotate(lab: &Arc<Lab>, random: &mut Random, overlap: Duration) {
    let tokens = lab.world().take_tokens(random, 1);
    let Some(token) = tokens.first() else { return };
    let call = rotation(lab, *token, overlap);
    let effect = Effect::Expire {
        tokens: tokens.clone(),
        overlap,
    };
    let ending = Ending {
        after: overlap,
        ..end(effect, call, tokens)
    };
    ending.carry_out(lab, random).await;
}

fn rotation(lab: &Lab, token: TokenId, overlap: Duration) -> Call {
    Call::Rotate {
        name: lab.world().token_name(token).to_owned(),
        overlap,
        request_id: format!("rotation-{}", lab.next_id()),
    }
}

/// In a chain of rotations, only the newest token and its predecessor work.
async fn rotate_chain(lab: &Arc<Lab>, random: &mut Random) {
    const LONG: Duration = Duration::from_secs(1_800);
    let taken = lab.world().take_tokens(random, 1);
    let Some(&token) = taken.first() else { return };
    let effect = Effect::Expire {
        tokens: taken,
        overlap: LONG,
    };
    let call = rotation(lab, token, LONG);
    let done = lab
        .change(lab.any_server(random), &effect, &call, false, PATIENCE)
        .await;
    let Some((successor, _)) = done.and_then(|done| done.successor) else {
        return;
    };
    let workspace = lab.world().workspace_of(token);
    let both = {
        let mut world = lab.world();
        let live = world.some_of(workspace, usize::MAX);
        let found = live.into_iter().find(|live| world.token_name(*live) == successor.name);
        // Another task may have taken it already.
        let Some(successor) = found else { return };
        world.take_token(successor);
        vec![successor, token]
    };
    let call = rotation(lab, both[0], Duration::ZERO);
    let effect = Effect::Expire {
        tokens: both.clone(),
        overlap: Duration::ZERO,
    };
    end(effect, call, both).carry_out(lab, random).await;
}

async fn suspend(lab: &Arc<Lab>, random: &mut Random) {
    let Some(workspace) = lab.world().claim_workspace(random) else {
        return;
    };
    let (name, tokens) = {
        let world = lab.world();
        (world.workspaces[workspace.0].name.clone(), world.some_of(workspace, 3))
    };
    let call = Call::Suspend { name: name.clone() };
    end(Effect::Suspend(workspace), call, tokens)
        .carry_out(lab, random)
        .await;
    // Long enough for some of the questions after the answer.
    sleep(random.millis(0, 300)).await;
    let call = Call::Resume { name };
    if repeat_until_done(lab, random, &Effect::Resume(workspace), &call).await {
        lab.world().release_workspace(workspace);
    } else {
        replace(lab, random, workspace).await;
    }
}

/// Sends a change that reopens something until it is answered well.
async fn repeat_until_done(lab: &Arc<Lab>, random: &mut Random, effect: &Effect, call: &Call) -> bool {
    for _ in 0..ATTEMPTS {
        if lab.is_ending() {
            return false;
        }
        let server = lab.any_server(random);
        if lab.change(server, effect, call, false, PATIENCE).await.is_some() {
            return true;
        }
        sleep(PAUSE).await;
    }
    false
}

/// Gives up a workspace for another one.
async fn replace(lab: &Lab, random: &mut Random, workspace: WorkspaceId) {
    lab.world().close_workspace(workspace);
    for _ in 0..ATTEMPTS {
        if lab.is_ending() || create::workspace(lab, random).await.is_some() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Ends the tokens of a workspace by a policy, and removes the policy.
async fn limit_workspace(lab: &Arc<Lab>, random: &mut Random, lifetime: Duration) {
    let Some(workspace) = lab.world().claim_workspace(random) else {
        return;
    };
    let name = lab.world().workspaces[workspace.0].name.clone();
    if limit(lab, random, &name, vec![workspace], lifetime).await {
        lab.world().release_workspace(workspace);
    } else {
        replace(lab, random, workspace).await;
    }
}

/// Ends the tokens of an organization by a policy, and removes the policy.
async fn limit_organization(lab: &Arc<Lab>, random: &mut Random) {
    let Some((organization, workspaces)) = lab.world().claim_organization(random) else {
        return;
    };
    let name = lab.world().organizations[organization].name.clone();
    // Otherwise the organization is not used any more: no token can be created in its workspaces.
    if limit(lab, random, &name, workspaces.clone(), AT_ONCE).await {
        lab.world().release_organization(organization);
    } else {
        let open = lab.world().open_of(&workspaces);
        for workspace in open {
            replace(lab, random, workspace).await;
        }
    }
}

/// Returns whether the policy is removed again.
async fn limit(
    lab: &Arc<Lab>,
    random: &mut Random,
    owner: &str,
    workspaces: Vec<WorkspaceId>,
    lifetime: Duration,
) -> bool {
    let tokens = {
        let mut world = lab.world();
        let some = workspaces.iter().flat_map(|workspace| world.some_of(*workspace, 1));
        let some: Vec<_> = some.collect();
        for workspace in &workspaces {
            world.take_all(*workspace);
        }
        some
    };
    let effect = Effect::Limit {
        workspaces: workspaces.clone(),
        lifetime,
    };
    let call = Call::SetPolicy(max_lifetime(owner, lifetime, ExistingTokens::Apply));
    let ending = Ending {
        after: if lifetime == AT_ONCE { Duration::ZERO } else { lifetime },
        ..end(effect, call, tokens)
    };
    let is_done = ending.carry_out(lab, random).await;
    if is_done && lifetime != AT_ONCE {
        // A policy that is removed before its deadline ends nothing.
        sleep(lifetime + Duration::from_millis(300)).await;
    }
    let none = TokenPolicy {
        name: format!("{owner}/tokenPolicy"),
        ..Default::default()
    };
    repeat_until_done(lab, random, &Effect::Unlimit(workspaces), &Call::SetPolicy(none)).await
}

async fn delete(lab: &Arc<Lab>, random: &mut Random) {
    let Some(workspace) = lab.world().claim_workspace(random) else {
        return;
    };
    let (name, tokens) = {
        let mut world = lab.world();
        let tokens = world.some_of(workspace, 2);
        world.close_workspace(workspace);
        (world.workspaces[workspace.0].name.clone(), tokens)
    };
    let call = Call::Delete { name };
    end(Effect::Delete(workspace), call, tokens)
        .carry_out(lab, random)
        .await;
    replace(lab, random, workspace).await;
}

/// Revokes the only key of a caller, or deletes the caller.
async fn end_caller(lab: &Arc<Lab>, act: Act, random: &mut Random) {
    let taken = lab.world().take_key(random, LEAST_KEYS);
    let Some(key) = taken else {
        create::caller(lab, random).await;
        return;
    };
    let tokens = {
        let world = lab.world();
        (0..2).filter_map(|_| world.any_token(random)).collect()
    };
    let call = {
        let world = lab.world();
        if act == Act::RevokeKey {
            Call::RevokeKey {
                name: world.key_name(key).to_owned(),
            }
        } else {
            Call::DeleteCaller {
                name: world.caller_name(key).to_owned(),
            }
        }
    };
    let ending = Ending {
        key: Some(key),
        ..end(Effect::RevokeKeys(vec![key]), call, tokens)
    };
    ending.carry_out(lab, random).await;
    create::caller(lab, random).await;
}
