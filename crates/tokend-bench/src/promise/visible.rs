//! How soon a revocation is seen by three healthy servers and by guards that watch them.
//!
//! Every token is verified at each endpoint, so that it is in memory everywhere. Then it is revoked with `no_wait`, at
//! the servers in turn, and all endpoints are asked again and again until they deny it. Revocations come independently
//! of each other and of the polls.
//!
//! No client sees the time of COMMIT. It lies between the time when RevokeToken was sent and the time when its answer
//! arrived, so both spans are reported: from the answer, which is at most too short by the answer's way, and from the
//! request, which contains the whole transaction. Both end when the first DENY has arrived, and so are too long by up
//! to one interval of questions.

use std::{sync::Arc, time::Duration};

use tokend_client::Client;
use tokend_core::{
    lease::Terms,
    time::{BootTime, Clock},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::sleep,
};

use super::{
    Bench,
    calls::{Times, Token, create_tokens, revoke},
    cluster::Cluster,
    endpoint::{Endpoint, Verdict, Wrong},
    random::Random,
    report::{Figure, millis},
};
use crate::{BoxError, durations::Durations};

/// The pause between questions to an endpoint.
const STEP: Duration = Duration::from_millis(3);

/// Most revocations that are not seen everywhere yet. Further ones wait, so that a slow machine does not get slower.
const AT_ONCE: usize = 16;

/// How long an endpoint may give no verdict.
const PATIENCE: Duration = Duration::from_secs(60);

/// Guards of the SDK: one for each of the first servers.
pub(super) const GUARDS: usize = 2;

/// The target.
const MOST: Duration = Duration::from_millis(250);

/// When one revocation was seen.
struct Seen {
    revoked: Times,
    /// By all servers, and by all guards.
    by_servers: BootTime,
    by_guards: BootTime,
    failed: u32,
}

pub(super) async fn measure(bench: &Bench, cluster: &Cluster, wrong: &Wrong) -> Result<Vec<Figure>, BoxError> {
    let (count, mean) = if bench.short { (30, 40) } else { (3_000, 33) };
    let mean = Duration::from_millis(mean);
    let endpoints: Arc<[Endpoint]> = cluster.endpoints(GUARDS).await?.into();
    let mut revokers = Vec::new();
    for server in 0..cluster.servers().len() {
        revokers.push(cluster.client(server, 0).await?);
    }
    let tokens = create_tokens(&revokers[0], count).await?;

    let must_hold_after = Terms::with_margin(Cluster::lease(bench.short));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let (mut random, mut revocations) = (Random::new(13), JoinSet::new());
    for (token, revoker) in tokens.into_iter().zip(revokers.iter().cycle()) {
        sleep(random.until_next(mean)).await;
        let revocation = Revocation {
            clock: bench.clock.clone(),
            revoker: revoker.clone(),
            endpoints: Arc::clone(&endpoints),
            wrong: wrong.clone(),
            must_hold_after,
            _room: Arc::clone(&room).acquire_owned().await?,
        };
        revocations.spawn(revocation.observe(token));
    }
    let mut seen = Vec::with_capacity(count);
    while let Some(observed) = revocations.join_next().await {
        seen.push(observed??);
    }
    Ok(figures(&seen, &endpoints))
}

/// One revocation, and who has to see it.
struct Revocation {
    clock: Clock,
    revoker: Client,
    endpoints: Arc<[Endpoint]>,
    wrong: Wrong,
    /// After the answer.
    must_hold_after: Duration,
    _room: OwnedSemaphorePermit,
}

impl Revocation {
    async fn observe(self, token: Token) -> Result<Seen, BoxError> {
        for endpoint in &*self.endpoints {
            endpoint.warm(&self.clock, &token, &self.wrong).await?;
        }
        let revoked = revoke(&self.revoker, &self.clock, &token, true).await?;
        let mut seen = Seen {
            revoked,
            by_servers: revoked.answered,
            by_guards: revoked.answered,
            failed: 0,
        };
        let mut observers = JoinSet::new();
        for endpoint in &*self.endpoints {
            let (endpoint, clock, token) = (endpoint.clone(), self.clock.clone(), token.clone());
            let (wrong, deadline) = (
                self.wrong.clone(),
                revoked.answered.saturating_add(self.must_hold_after),
            );
            observers.spawn(async move {
                let denied = first_deny(&endpoint, &clock, &token, deadline, &wrong).await;
                denied.map(|(at, failed)| (endpoint.is_guard(), at, failed))
            });
        }
        while let Some(observed) = observers.join_next().await {
            let (is_guard, at, failed) = observed??;
            let last = if is_guard {
                &mut seen.by_guards
            } else {
                &mut seen.by_servers
            };
            *last = (*last).max(at);
            seen.failed += failed;
        }
        Ok(seen)
    }
}

/// Asks until the first DENY, and returns when that arrived, and how often there was no verdict. After `deadline`, an
/// ALLOW is wrong, and ends this, too.
async fn first_deny(
    endpoint: &Endpoint,
    clock: &Clock,
    token: &Token,
    deadline: BootTime,
    wrong: &Wrong,
) -> Result<(BootTime, u32), BoxError> {
    let mut failed = 0;
    loop {
        let (verdict, times) = endpoint.ask(clock, token).await;
        match &verdict {
            Verdict::Deny(_) => return Ok((times.answered, failed)),
            Verdict::Allow if times.sent > deadline => {
                wrong.allowed(endpoint, token, times.sent);
                return Ok((times.answered, failed));
            }
            Verdict::Allow => {}
            // A deadline passes when the machine is too busy.
            Verdict::Unavailable | Verdict::Failed(_) => failed += 1,
        }
        if times.answered.saturating_since(deadline) > PATIENCE {
            return Err(format!("{} gives no verdicts: {verdict:?}", endpoint.name).into());
        }
        sleep(STEP).await;
    }
}

fn figures(seen: &[Seen], endpoints: &[Endpoint]) -> Vec<Figure> {
    let failed: u32 = seen.iter().map(|seen| seen.failed).sum();
    let hits: u64 = endpoints.iter().map(Endpoint::hits).sum();
    let servers = endpoints.iter().filter(|endpoint| !endpoint.is_guard()).count();
    let servers = format!("{servers} servers");
    let guards = format!("{GUARDS} watching SDKs");
    let figure = |who: &str, from: &str, spans: Vec<Duration>| {
        let spans = Durations::of(spans);
        let note = format!(
            "{} revocations; median {:.0} ms, 99 % {:.0} ms, longest {:.0} ms; {failed} questions got no verdict, \
             {hits} of the guards' were from the cache",
            spans.count(),
            millis(spans.median()),
            millis(spans.percentile_99()),
            millis(spans.max())
        );
        let name = format!("revocation seen by {who}, p99.9, from {from}");
        Figure::of_duration(name, spans.percentile_99_9(), note).at_most(millis(MOST))
    };
    let spans = |from: fn(&Seen) -> BootTime, until: fn(&Seen) -> BootTime| {
        seen.iter()
            .map(|seen| until(seen).saturating_since(from(seen)))
            .collect()
    };
    let answer = "the answer of RevokeToken with `no_wait`";
    let request = "its request, transaction included";
    vec![
        figure(
            &servers,
            answer,
            spans(|seen| seen.revoked.answered, |seen| seen.by_servers),
        ),
        figure(
            &guards,
            answer,
            spans(|seen| seen.revoked.answered, |seen| seen.by_guards),
        ),
        figure(
            &servers,
            request,
            spans(|seen| seen.revoked.sent, |seen| seen.by_servers),
        ),
        figure(&guards, request, spans(|seen| seen.revoked.sent, |seen| seen.by_guards)),
    ]
}
