//! Measures without faults: when a revocation is visible, and how long a revocation takes.
//!
//! A call that waits for nobody returns with its COMMIT. From then on every endpoint, which has just allowed the token, is
//! asked until it denies.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::create;
use crate::{
    call::Call,
    clock::Moment,
    history::{Asks, Consistency, Effect, KeyId, TokenId, Verdict},
    lab::Lab,
    random::Random,
};

/// The revocations of one measurement that wait for nobody, one after the other.
const WATCHED: usize = 3;
/// The revocations of one measurement that wait, all at once.
const WAITING: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two questions. The measured time is too long by about half of it.
const POLL: Duration = Duration::from_millis(2);

/// Measures again and again between the rounds of faults.
pub(super) async fn keep_measuring(lab: Arc<Lab>, mut random: Random) {
    while !lab.is_ending() {
        let tokens = prepare(&lab, &mut random).await;
        let quiet = lab.quiet.read().await;
        let mut tokens = tokens.into_iter();
        for token in tokens.by_ref().take(WATCHED) {
            watch(&lab, token, &mut random).await;
        }
        let mut revoking = JoinSet::new();
        for token in tokens {
            revoking.spawn(revoke(Arc::clone(&lab), token, random.fork()));
        }
        revoking.join_all().await;
        drop(quiet);
        sleep(PAUSE).await;
    }
}

/// Creates the tokens for a measurement.
async fn prepare(lab: &Arc<Lab>, random: &mut Random) -> Vec<TokenId> {
    let mut creating = JoinSet::new();
    for _ in 0..WATCHED + WAITING {
        creating.spawn(prepare_one(Arc::clone(lab), random.fork()));
    }
    creating.join_all().await.into_iter().flatten().collect()
}

async fn prepare_one(lab: Arc<Lab>, mut random: Random) -> Option<TokenId> {
    let workspace = random.of(lab.world().open_workspaces()).copied()?;
    let token = create::token(&lab, &mut random, workspace, None).await?;
    lab.world().take_token(token);
    Some(token)
}

/// Revokes a token and measures how long the call takes.
async fn revoke(lab: Arc<Lab>, token: TokenId, mut random: Random) {
    let (effect, call) = revocation(&lab, token);
    let begin = lab.recorder.now();
    let server = lab.any_server(&mut random);
    if lab.change(server, &effect, &call, false, PATIENCE).await.is_some() {
        let took = lab.recorder.now().since(begin);
        lab.measures().quiet_revoke.add(took);
    }
}

fn revocation(lab: &Lab, token: TokenId) -> (Effect, Call) {
    let name = lab.world().token_name(token).to_owned();
    (Effect::Revoke(vec![token]), Call::Revoke { name })
}

/// Revokes a token and measures when every endpoint denies it.
async fn watch(lab: &Arc<Lab>, token: TokenId, random: &mut Random) -> Option<()> {
    let key = lab.world().live_key(random)?;
    for endpoint in 0..lab.endpoints.len() {
        let server = lab.any_server(random).index;
        let verdict = lab.verify(endpoint, server, token, key, Asks::Granted, Consistency::Ordinary);
        if verdict.await? != Verdict::Allow {
            // Its workspace may be suspended.
            return None;
        }
    }
    let (effect, call) = revocation(lab, token);
    lab.change(lab.any_server(random), &effect, &call, true, PATIENCE)
        .await?;
    let committed = lab.recorder.now();
    let mut seeing = JoinSet::new();
    for endpoint in 0..lab.endpoints.len() {
        seeing.spawn(see(Arc::clone(lab), endpoint, token, key, committed, random.fork()));
    }
    seeing.join_all().await;
    Some(())
}

/// Asks an endpoint until it denies, and records the time since the commit.
async fn see(lab: Arc<Lab>, endpoint: usize, token: TokenId, key: KeyId, committed: Moment, mut random: Random) {
    loop {
        let server = lab.any_server(&mut random).index;
        let verdict = lab.verify(endpoint, server, token, key, Asks::Granted, Consistency::Ordinary);
        let verdict = verdict.await;
        let took = lab.recorder.now().since(committed);
        match verdict {
            Some(Verdict::Deny(_)) => {
                let name = lab.endpoints[endpoint].name();
                lab.measures().visible.entry(name).or_default().add(took);
                return;
            }
            // Another task revoked the key.
            Some(Verdict::Unauthenticated) => return,
            _ if took > PATIENCE => {
                lab.measures().never_visible += 1;
                return;
            }
            _ => sleep(POLL).await,
        }
    }
}
