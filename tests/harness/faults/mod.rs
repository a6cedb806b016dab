//! Faults: what a round does to the servers and their database while the clients work.
//!
//! A round draws one to three faults from the seed, or has those that the run names, lets them happen at the same time, ends them, waits until every
//! server gives verdicts again, and leaves the clients alone for a moment.

mod clients;
mod database;
mod lease;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{sleep, timeout},
};

use crate::{
    clock::Moment,
    cluster::Server,
    history::{Asks, Consistency, Verdict},
    lab::Lab,
    proxy::{Connections, Direction, Disturbance},
    random::Random,
    workload::Mix,
};

/// How long a server may take until it gives verdicts again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
const RECOVERY_POLL: Duration = Duration::from_millis(20);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// kill -9, and a start later.
    Kill,
    /// A server's database connections are cut and refused for a while.
    Outage,
    /// A server's database connections are cut once.
    Cut,
    /// Bytes between a server and its database are held for a while, in one direction.
    Hold,
    /// Bytes between a server and its database are delayed for a while, in one direction.
    Delay,
    /// Connections of remote clients are cut.
    CutClients,
    /// Bytes between remote clients and a server are held for a while, in one direction.
    HoldClients,
    /// Bytes between remote clients and a server are delayed for a while, in one direction.
    DelayClients,
    /// SIGSTOP of a client, and SIGCONT later.
    StopClient,
    /// kill -9 and start of a client.
    KillClient,
    /// A server does not hear of changes, again and again, for about as long as a lease.
    HoldFeed,
    /// A server does not hear of changes for longer than they wait, and clients can't reach the others.
    Lag,
    /// What a server hears of changes is late by less than a lease.
    DelayFeed,
    /// What a server sends to its database is late, and so are its commits. PostgreSQL would end a transaction whose COMMIT
    /// is later than a second.
    DelayCommits,
    /// What a server's reads return is delayed for a while: memories are filled late, from old snapshots.
    DelayFills,
    /// `pg_terminate_backend` of some backends.
    Terminate,
    /// `pg_cancel_backend` of some backends, several times.
    Cancel,
    /// PostgreSQL ends all connections and recovers, as after a crash.
    CrashDatabase,
    /// Entries of the feed are purged as soon as there are newer ones, for a while.
    PurgeFeed,
    /// `tokend lease set`.
    SetLease,
    /// `tokend lease set`, and another one before the first has finished.
    SetLeaseTwice,
    /// Clients work without a fault.
    Nothing,
}

impl Kind {
    /// Every kind and its weight.
    pub(crate) const ALL: [(usize, Self); 22] = [
        (22, Self::Stop),
        (10, Self::Kill),
        (9, Self::Outage),
        (9, Self::Cut),
        (13, Self::Hold),
        (10, Self::Delay),
        (9, Self::DelayFills),
        (8, Self::HoldFeed),
        (6, Self::Lag),
        (6, Self::DelayFeed),
        (6, Self::DelayCommits),
        (7, Self::CutClients),
        (7, Self::HoldClients),
        (9, Self::DelayClients),
        (8, Self::StopClient),
        (3, Self::KillClient),
        (8, Self::Terminate),
        (6, Self::Cancel),
        (4, Self::CrashDatabase),
        (4, Self::PurgeFeed),
        (8, Self::SetLease),
        (3, Self::SetLeaseTwice),
    ];

    /// The kinds for a server without PostgreSQL.
    pub(crate) const WITHOUT_DATABASE: [(usize, Self); 5] = [
        (6, Self::Stop),
        (4, Self::Kill),
        (1, Self::CutClients),
        (1, Self::HoldClients),
        (1, Self::DelayClients),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Stop => "SIGSTOP and SIGCONT of a server",
            Self::Kill => "kill -9 and restart of a server",
            Self::Outage => "database path cut and refused",
            Self::Cut => "database connections cut",
            Self::Hold => "database path held",
            Self::Delay => "database path delayed",
            Self::HoldFeed => "feed held again and again",
            Self::Lag => "feed of one server held, clients of the others refused",
            Self::DelayFeed => "feed delayed",
            Self::DelayCommits => "commits delayed",
            Self::CutClients => "client connections cut",
            Self::HoldClients => "client connections held",
            Self::DelayClients => "client connections delayed",
            Self::StopClient => "SIGSTOP and SIGCONT of a client",
            Self::KillClient => "kill -9 and restart of a client",
            Self::DelayFills => "answers to reads delayed",
            Self::Terminate => "pg_terminate_backend",
            Self::Cancel => "pg_cancel_backend",
            Self::CrashDatabase => "PostgreSQL crash and recovery",
            Self::PurgeFeed => "feed purged",
            Self::SetLease => "lease set",
            Self::SetLeaseTwice => "lease set twice at once",
            Self::Nothing => "none",
        }
    }
}

/// Runs a round. Its faults are determined by the seed and the number of the round.
pub(crate) async fn round(lab: &Arc<Lab>, number: usize) {
    let mut random = Random::of_round(lab.settings.seed, number);
    let kinds = kinds(&lab.mix, &mut random);
    let faults = lab.quiet.write().await;
    join_all(kinds.into_iter().map(|kind| inject(lab, kind, random.fork()))).await;
    recover(lab, lab.recorder.now(), &mut random).await;
    drop(faults);
    sleep(random.millis(100, 600)).await;
}

/// Draws the faults of a round.
fn kinds(mix: &Mix, random: &mut Random) -> Vec<Kind> {
    if mix.is_together {
        return mix.faults.iter().map(|(_, kind)| *kind).collect();
    }
    let count = random.weighted(&[(60, 1), (30, 2), (10, 3)]);
    (0..count).map(|_| random.weighted(&mix.faults)).collect()
}

async fn inject(lab: &Lab, kind: Kind, mut random: Random) {
    let random = &mut random;
    let is_injected = match kind {
        Kind::Stop | Kind::Kill => process_fault(lab, kind, random).await,
        Kind::Outage
        | Kind::Cut
        | Kind::Hold
        | Kind::Delay
        | Kind::HoldFeed
        | Kind::Lag
        | Kind::DelayFeed
        | Kind::DelayCommits
        | Kind::DelayFills => back_fault(lab, kind, random).await,
        Kind::CutClients | Kind::HoldClients | Kind::DelayClients => clients::front_fault(lab, kind, random).await,
        Kind::StopClient | Kind::KillClient => clients::client_fault(lab, kind, random).await,
        Kind::Terminate => database::signal_backends(lab, random, "pg_terminate_backend").await,
        Kind::Cancel => database::cancel_backends(lab, random).await,
        Kind::CrashDatabase => database::crash(lab).await,
        Kind::PurgeFeed => database::purge_feed(lab, span(lab, random)).await,
        Kind::SetLease => lease::set(lab, random).await,
        Kind::SetLeaseTwice => lease::set_twice(lab, random).await,
        Kind::Nothing => {
            sleep(span(lab, random)).await;
            true
        }
    };
    let mut measures = lab.measures();
    let counts = if is_injected {
        &mut measures.faults
    } else {
        &mut measures.not_injected
    };
    *counts.entry(kind.name()).or_default() += 1;
}

/// Stops or kills a server. Returns false if another fault has it.
async fn process_fault(lab: &Lab, kind: Kind, random: &mut Random) -> bool {
    let Some((server, _claimed)) = claim(lab, random, |server| &server.process_fault) else {
        return false;
    };
    if kind == Kind::Kill {
        server.kill();
        sleep(random.millis(0, 1_000)).await;
        lab.cluster.launch(server).await;
        return true;
    }
    let Some(id) = server.stop() else { return false };
    sleep(span(lab, random)).await;
    server.resume(id);
    true
}

/// Disturbs the connections between a server and its database.
async fn back_fault(lab: &Lab, kind: Kind, random: &mut Random) -> bool {
    let Some((server, _claimed)) = claim(lab, random, |server| &server.back_fault) else {
        return false;
    };
    let Some(proxy) = &server.back else { return false };
    match kind {
        Kind::Outage => {
            proxy.refuse();
            // Some outages are longer than a lease and a change's wait.
            let (short, long) = (span(lab, random), random.millis(5_000, 8_000));
            sleep(random.weighted(&[(2, short), (1, long)])).await;
        }
        Kind::Cut => {
            for _ in 0..=random.below(3) {
                let which = [(2, Connections::All), (2, Connections::Feed), (1, Connections::Others)];
                proxy.cut(random.weighted(&which));
                sleep(random.millis(0, 500)).await;
            }
        }
        Kind::HoldFeed => {
            for _ in 0..=random.below(3) {
                proxy.disturb(vec![disturbance(kind, random)]);
                let (least, most) = random.weighted(&[(1, (400, 1_400)), (1, (2_800, 4_500))]);
                sleep(random.millis(least, most)).await;
                proxy.heal();
                sleep(random.millis(100, 500)).await;
            }
        }
        Kind::Lag => {
            proxy.disturb(vec![disturbance(kind, random)]);
            clients::be_left_alone_with(lab, server, random).await;
        }
        Kind::DelayFeed | Kind::DelayCommits => {
            proxy.disturb(vec![disturbance(kind, random)]);
            // Longer than a change waits.
            sleep(random.millis(3_000, 8_000)).await;
        }
        _ => {
            proxy.disturb(vec![disturbance(kind, random)]);
            sleep(span(lab, random)).await;
        }
    }
    proxy.heal();
    true
}

/// Draws what happens to the connections between a server and its database.
fn disturbance(kind: Kind, random: &mut Random) -> Disturbance {
    let some = [(1, Connections::All), (2, Connections::Feed), (2, Connections::Others)];
    let (connections, direction, delay) = match kind {
        Kind::HoldFeed | Kind::Lag => (Connections::Feed, Direction::Answers, None),
        Kind::DelayFeed => {
            // More than half of the wait, and less than a lease, for leases of one and of three seconds.
            let late = random.weighted(&[(1, (600, 950)), (1, (1_800, 2_800))]);
            (Connections::Feed, Direction::Answers, Some(late))
        }
        Kind::DelayCommits => (Connections::Others, Direction::Requests, Some((300, 950))),
        Kind::DelayFills => (Connections::Others, Direction::Answers, Some((20, 1_500))),
        Kind::Delay => (random.weighted(&some), direction(random), Some((20, 1_500))),
        _ => (random.weighted(&some), direction(random), None),
    };
    Disturbance {
        connections,
        direction,
        delay: delay.map(|(least, most)| random.millis(least, most)),
    }
}

/// Claims a server that no other fault of the same kind has.
fn claim<'a>(
    lab: &'a Lab,
    random: &mut Random,
    fault: impl Fn(&Server) -> &Mutex<()>,
) -> Option<(&'a Server, MutexGuard<'a, ()>)> {
    let servers = lab.cluster.servers();
    let first = random.below(servers.len());
    let (before, after) = servers.split_at(first);
    let mut each = after.iter().chain(before);
    each.find_map(|server| Some((server, fault(server).try_lock().ok()?)))
}

fn direction(random: &mut Random) -> Direction {
    random.weighted(&[(1, Direction::Requests), (1, Direction::Answers)])
}

/// Draws how long a fault lasts.
fn span(lab: &Lab, random: &mut Random) -> Duration {
    let short = (200, 3_000);
    let (least, most) = if lab.settings.has_long_faults {
        random.weighted(&[(86, short), (11, (3_000, 8_000)), (3, (8_000, 30_000))])
    } else {
        short
    };
    random.millis(least, most)
}

/// Waits until every server gives verdicts.
async fn recover(lab: &Lab, ended: Moment, random: &mut Random) {
    for server in lab.cluster.servers() {
        let recovered = async {
            loop {
                if gives_verdicts(lab, server.index, random).await {
                    break;
                }
                sleep(RECOVERY_POLL).await;
            }
        };
        if timeout(RECOVERY_LIMIT, recovered).await.is_err() {
            panic!(
                "server {} gives no verdicts a minute after the faults. It logged:\n{}",
                server.index,
                server.log()
            );
        }
        let took = lab.recorder.now().since(ended);
        lab.measures().recovery.add(took);
    }
}

async fn gives_verdicts(lab: &Lab, server: usize, random: &mut Random) -> bool {
    let (token, key) = {
        let world = lab.world();
        (world.any_token(random), world.live_key(random))
    };
    let (Some(token), Some(key)) = (token, key) else {
        return false;
    };
    let verdict = lab.verify(server, server, token, key, Asks::Granted, Consistency::Ordinary);
    !matches!(verdict.await, None | Some(Verdict::Failed(_)))
}
