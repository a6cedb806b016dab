//! What the promise costs a Verify that is answered from memory: its checks of leases and slots, relative to the CPU
//! time of the whole call in the server.
//!
//! The checks run in this process, with the functions of `tokend-core` that the server calls, as often as one Verify
//! calls them, in batches that alternate with batches that check nothing. The CPU time of a call is that of a real
//! server's threads, from the scheduler's statistics, while a client asks. Part of the checks would be needed without
//! the promise, too: a verdict needs the time.
//!
//! Two figures, because memory matters more than instructions: in the first, the checks find everything in the
//! processor's caches, in the second they read a random place of 64 MiB each time. The truth lies between.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokend_client::Client;
use tokend_core::{
    credential::CredentialId,
    lease::{Lease, SlotKey, Slots, Subject},
    name::TokenName,
    time::Clock,
};
use tokio::task::JoinSet;

use super::{
    Bench,
    calls::{Token, WORKSPACE, create_tokens, question},
    cluster::Cluster,
    process::ServerProcess,
    random::{Random, bootstrap, median},
    report::{Figure, Unit},
};
use crate::BoxError;

/// The slots of a server, as in its `verifier::memory`.
const SLOTS: usize = 1 << 16;

/// Memories to choose from at random: their slots take 64 MiB, or a few with little time.
const COLD: usize = 128;
const FEW: usize = 8;

const TOKENS: usize = 1 << 16;

/// Checks in a batch.
const BATCH: usize = 1_000;

/// Questions in progress on each of two connections while CPU time is measured.
const ASKING: usize = 16;

/// How long is measured if there is little time.
const SHORT: Duration = Duration::from_millis(300);

/// The target in percent.
const MOST: f64 = 2.0;

/// What a server's memory of one epoch has for checks.
struct Memory {
    lease: Lease,
    head: AtomicU64,
    slots: Slots,
}

/// The slots that one Verify compares.
#[derive(Clone, Copy)]
struct Keys {
    caller: SlotKey,
    token: SlotKey,
    workspace: SlotKey,
}

pub(super) async fn measure(bench: &Bench, cluster: &Cluster) -> Result<Vec<Figure>, BoxError> {
    let (call, calls) = cpu_of_a_call(bench, cluster).await?;
    let figure = |name: &str, memories: usize| {
        let nanos = cost_of_checks(bench, memories)?;
        let percent = |nanos: f64| nanos / call.as_secs_f64() / 1e7;
        let interval = bootstrap(&nanos, |drawn| median(drawn.iter().map(|nanos| **nanos)));
        let checks = median(nanos.iter().copied());
        let note = format!(
            "{checks:.0} ns (median of {} pairs of batches) of {:.1} µs, the server's CPU time of one of {calls} calls",
            nanos.len(),
            call.as_secs_f64() * 1e6
        );
        let name = format!("checks of lease and slots in a Verify from memory, CPU, {name}");
        let figure = Figure::new(name, percent(checks), Unit::Percent, note);
        Ok::<_, BoxError>(figure.within((percent(interval.0), percent(interval.1))).at_most(MOST))
    };
    Ok(vec![
        figure("with warm caches", 1)?,
        figure("with cold caches", if bench.short { FEW } else { COLD })?,
    ])
}

/// Does what the server does for one Verify from memory: `Memory::reading` for the caller and for the token, `admits`
/// for what is found, and `Reading::is_current` before the answer leaves.
fn check(clock: &Clock, current: &ArcSwap<Memory>, keys: Keys, revision: u64) -> bool {
    let reading = || {
        let memory = current.load_full();
        let now = clock.boot_time();
        let lease = memory.lease.remaining(now);
        let head = memory.head.load(Ordering::Acquire);
        (!lease.is_zero() && revision <= head).then_some(memory)
    };
    let admits = |memory: &Memory, keys: [SlotKey; 2]| keys.iter().all(|key| memory.slots.admits(*key, revision));
    // The authenticator finds the caller.
    let Some(memory) = reading() else { return false };
    if !admits(&memory, [keys.caller; 2]) {
        return false;
    }
    drop(memory);
    // The use case finds the token and its workspace, and the caller again.
    let Some(memory) = reading() else { return false };
    let are_fresh = memory.slots.admits(keys.token, revision)
        && admits(&memory, [keys.workspace; 2])
        && admits(&memory, [keys.caller; 2]);
    // The answer keeps the reading.
    let kept = Arc::clone(&memory);
    drop(memory);
    are_fresh && kept.lease.runs_at(clock.boot_time())
}

/// Returns the nanoseconds of the checks of one Verify, for each pair of batches.
fn cost_of_checks(bench: &Bench, memories: usize) -> Result<Vec<f64>, BoxError> {
    let (clock, revision) = (&bench.clock, 7);
    let lease = Duration::from_secs(3_600);
    let memories: Vec<ArcSwap<Memory>> = (0..memories)
        .map(|_| {
            let memory = Memory {
                lease: Lease::ended(),
                head: AtomicU64::new(revision),
                slots: Slots::since(revision, SLOTS),
            };
            memory.lease.renew(clock.boot_time(), lease);
            ArcSwap::from_pointee(memory)
        })
        .collect();
    let mut random = Random::new(13);
    let keys = keys(&mut random)?;
    let pairs = if bench.short { 50 } else { 2_000 };
    let mut nanos = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let chosen: Vec<_> = (0..BATCH)
            .map(|_| (&memories[random.below(memories.len())], keys[random.below(keys.len())]))
            .collect();
        let batch = |one: &dyn Fn(&ArcSwap<Memory>, Keys) -> bool| {
            let start = clock.boot_time();
            let right = chosen.iter().filter(|(memory, keys)| one(memory, *keys)).count();
            assert_eq!(black_box(right), BATCH, "everything is fresh");
            clock.boot_time().saturating_since(start).as_secs_f64() * 1e9
        };
        let without = batch(&|memory, keys| {
            black_box((memory, keys));
            true
        });
        let with = batch(&|memory, keys| check(clock, memory, keys, revision));
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        nanos.push((with - without) / BATCH as f64);
    }
    Ok(nanos)
}

/// Returns the slots of random tokens.
fn keys(random: &mut Random) -> Result<Vec<Keys>, BoxError> {
    let workspace = WORKSPACE.trim_start_matches("workspaces/").parse()?;
    let caller = Subject::Caller("admin".parse()?).slot();
    let slots = (0..TOKENS).map(|_| {
        let mut id = [0; CredentialId::BYTES];
        for byte in &mut id {
            [*byte, ..] = random.next().to_be_bytes();
        }
        let name = TokenName {
            workspace: Clone::clone(&workspace),
            id: CredentialId::from_bytes(id),
        };
        Keys {
            caller,
            token: Subject::Token(name).slot(),
            workspace: Subject::Workspace(Clone::clone(&workspace)).slot(),
        }
    });
    Ok(slots.collect())
}

/// Returns the server's CPU time of one Verify from memory, and how many were measured. What the server uses while
/// nobody asks is not counted.
async fn cpu_of_a_call(bench: &Bench, cluster: &Cluster) -> Result<(Duration, u32), BoxError> {
    let server = cluster.servers().first().ok_or("a cluster has a server")?;
    let clients = [cluster.client(0, 0).await?, cluster.client(0, 0).await?];
    let tokens: Arc<[Token]> = create_tokens(&clients[0], 100).await?.into();
    let span = |seconds| {
        if bench.short {
            SHORT
        } else {
            Duration::from_secs(seconds)
        }
    };
    // Everything is in memory after this.
    ask_for(bench, span(2), &clients, &tokens).await?;
    let idle = {
        let before = server.cpu()?;
        tokio::time::sleep(span(5)).await;
        (server.cpu()? - before).div_f64(span(5).as_secs_f64())
    };
    let (start, before) = (bench.clock.boot_time(), server.cpu()?);
    let calls = ask_for(bench, span(20), &clients, &tokens).await?;
    let used = cpu_since(server, before)?;
    let took = bench.clock.boot_time().saturating_since(start);
    Ok((
        used.saturating_sub(idle.mul_f64(took.as_secs_f64())) / calls.max(1),
        calls,
    ))
}

fn cpu_since(server: &ServerProcess, before: Duration) -> Result<Duration, BoxError> {
    Ok(server.cpu()?.saturating_sub(before))
}

/// Verifies tokens for a while, and returns how often.
async fn ask_for(bench: &Bench, span: Duration, clients: &[Client], tokens: &Arc<[Token]>) -> Result<u32, BoxError> {
    let mut askers = JoinSet::new();
    let start = bench.clock.boot_time();
    for number in 0..clients.len() * ASKING {
        let (client, clock) = (clients[number % clients.len()].clone(), bench.clock.clone());
        let tokens = Arc::clone(tokens);
        askers.spawn(async move {
            let mut calls = 0;
            let mut next = tokens.iter().cycle().skip(number);
            while clock.boot_time().saturating_since(start) < span {
                let token = next.next().ok_or("there are tokens")?;
                // One fails when the machine is too busy for the deadline.
                calls += u32::from(client.token_verify().verify(question(token)).await.is_ok());
            }
            Ok::<u32, BoxError>(calls)
        });
    }
    let mut calls = 0;
    while let Some(asked) = askers.join_next().await {
        calls += asked??;
    }
    Ok(calls)
}
