//! Verdicts while the database crashes and restarts again and again.
//!
//! Two servers, and a guard that watches each, are asked all the time about tokens that nobody has revoked and about
//! tokens whose revocation was answered. Others create tokens and revoke them. Meanwhile PostgreSQL is stopped
//! immediately, as by a crash, stays down for a random time that is often longer than the lease, and starts again.
//!
//! A living token has to be allowed, a revoked one denied; the only other answer is UNAVAILABLE. An endpoint's outage
//! lasts from when the first question without a verdict was sent until the last such answer has arrived, whatever was
//! answered in between; the database's outage from before it is stopped until it answers a query on a new connection.

mod clients;

use std::{sync::Arc, time::Duration};

use tokend_core::time::BootTime;
use tokend_test_support::postgres::Node;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::clients::{Asked, Clients};
use super::{
    Bench,
    calls::{create_tokens, revoke},
    cluster::Cluster,
    endpoint::Wrong,
    random::Random,
    report::{Figure, Unit, millis},
};
use crate::BoxError;

const LEASE: Duration = Duration::from_millis(300);
const SERVERS: usize = 2;

/// The longest time for which PostgreSQL stays down, besides its own start.
const LONGEST_DOWN: Duration = Duration::from_millis(1_500);

/// The target: an endpoint's outage may be longer than the database's by this and the lease.
const LONGER: Duration = Duration::from_secs(2);

/// How long everything has to work before the next crash.
const QUIET: Duration = Duration::from_millis(400);

/// How long PostgreSQL, or an endpoint after it, may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// Living tokens, and as many revoked ones.
const TOKENS: usize = 100;
const FEW_TOKENS: usize = 20;
const WRITERS: usize = 2;

pub(super) async fn measure(bench: &Bench, restarts: u32, wrong: &Wrong) -> Result<Option<Vec<Figure>>, BoxError> {
    let Some(node) = spawn_blocking(Node::start).await? else {
        return Ok(None);
    };
    let node = Arc::new(node);
    let cluster = Cluster::on(bench, node.url(), LEASE, SERVERS).await?;
    let client = cluster.client(0, 0).await?;
    let count = if bench.short { FEW_TOKENS } else { TOKENS };
    let (living, revoked) = (
        create_tokens(&client, count).await?,
        create_tokens(&client, count).await?,
    );
    for token in &revoked {
        revoke(&client, &bench.clock, token, true).await?;
    }
    // The last revocation has to hold everywhere.
    sleep(tokend_core::lease::Terms::with_margin(LEASE)).await;

    let clients = Arc::new(Clients::new(
        bench,
        cluster.endpoints(SERVERS).await?,
        living,
        revoked,
        wrong,
    ));
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    for index in 0..clients.endpoints() {
        tasks.spawn(Arc::clone(&clients).ask(index, stop.clone()));
    }
    for writer in 0..WRITERS {
        let client = cluster.client(writer % SERVERS, writer % 2).await?;
        tasks.spawn(Arc::clone(&clients).write(client, stop.clone()));
    }
    let already_wrong = wrong.count();
    let (mut random, mut downs) = (Random::new(13), Vec::new());
    clients.quiet_since(bench.clock.boot_time()).await?;
    for _ in 0..restarts {
        clients.begin_restart();
        let down = restart(bench, &node, random.up_to(LONGEST_DOWN)).await?;
        clients.quiet_since(bench.clock.boot_time()).await?;
        clients.end_restart(down);
        downs.push(down);
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(Some(figures(&clients, &downs, wrong.count() - already_wrong)))
}

/// Crashes PostgreSQL, starts it again, and returns how long it did not answer.
async fn restart(bench: &Bench, node: &Arc<Node>, down: Duration) -> Result<Duration, BoxError> {
    let start = bench.clock.boot_time();
    let crashing = Arc::clone(node);
    spawn_blocking(move || crashing.crash()).await?;
    sleep(down).await;
    node.start_again();
    let answers = async {
        while node.number("SELECT 1::bigint").await.is_none() {
            sleep(POLL).await;
        }
    };
    let answers = tokio::time::timeout(PATIENCE, answers).await;
    answers.map_err(|_| "PostgreSQL does not start again")?;
    Ok(bench.clock.boot_time().saturating_since(start))
}

impl Clients {
    /// Waits until every endpoint has given verdicts for a while after `begin`.
    async fn quiet_since(&self, begin: BootTime) -> Result<(), BoxError> {
        let is_quiet = async {
            while !self.is_quiet(begin, QUIET) {
                sleep(POLL).await;
            }
        };
        let quiet = tokio::time::timeout(PATIENCE, is_quiet).await;
        quiet.map_err(|_| "an endpoint gives no verdicts although the database answers".into())
    }
}

fn figures(clients: &Clients, downs: &[Duration], wrong: u64) -> Vec<Figure> {
    let restarts = downs.len();
    let Asked {
        verdicts,
        unavailable,
        failed,
        revocations,
        longest_outage,
        longest_excess,
        failures,
    } = clients.asked();
    let longest_down = downs.iter().max().copied().unwrap_or_default();
    let total_down: Duration = downs.iter().sum();
    let note = format!(
        "{verdicts} verdicts of {SERVERS} servers and {SERVERS} watching SDKs with a lease of {:.0} ms, and \
         {revocations} revocations that were answered meanwhile; the database was down for {:.0} s in all, {:.0} ms at the longest",
        millis(LEASE),
        total_down.as_secs_f64(),
        millis(longest_down)
    );
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    let count = |name: String, count: u64, note: String| Figure::new(name, count as f64, Unit::Count, note);
    let mut other = format!(
        "the longest outage of a server or SDK took {:.0} ms",
        millis(longest_outage)
    );
    if failed > 0 {
        other.push_str(&format!(
            "; {failed} calls failed in another way, the first ones with {failures:?}"
        ));
    }
    vec![
        count(
            format!("wrong verdicts in {restarts} restarts of the database"),
            wrong,
            note,
        )
        .at_most(0.0),
        count(
            format!("UNAVAILABLE in {restarts} restarts"),
            unavailable,
            String::new(),
        ),
        Figure::of_duration(
            "outage of a server or SDK beyond the database's, longest",
            longest_excess,
            other,
        )
        .at_most(millis(LEASE + LONGER)),
    ]
}
