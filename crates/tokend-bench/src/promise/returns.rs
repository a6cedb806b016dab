//! How soon RevokeToken returns: after the transaction, the wait and its margin.
//!
//! Revocations come independently of each other, at the servers in turn, so that their waits overlap. As soon as the
//! answer is there, every server and guard is asked: an ALLOW is wrong. They all had the token in memory.

use std::{sync::Arc, time::Duration};

use tokend_core::lease::Terms;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Bench,
    calls::{create_tokens, revoke},
    cluster::Cluster,
    endpoint::{Endpoint, Wrong},
    random::Random,
    report::{Figure, millis},
    visible::GUARDS,
};
use crate::{BoxError, durations::Durations};

/// What the target allows for everything but the wait and its margin.
const REST: Duration = Duration::from_millis(100);

/// Another lease to measure with.
const OTHER_LEASE: Duration = Duration::from_millis(300);

pub(super) async fn measure(bench: &Bench, cluster: &Cluster, wrong: &Wrong) -> Result<Vec<Figure>, BoxError> {
    let lease = Cluster::lease(bench.short);
    let mut figures = vec![with_lease(bench, cluster, lease, wrong).await?];
    if !bench.short {
        cluster.set_lease(OTHER_LEASE).await?;
        figures.push(with_lease(bench, cluster, OTHER_LEASE, wrong).await?);
        cluster.set_lease(lease).await?;
    }
    Ok(figures)
}

async fn with_lease(bench: &Bench, cluster: &Cluster, lease: Duration, wrong: &Wrong) -> Result<Figure, BoxError> {
    let (count, mean) = if bench.short { (30, 30) } else { (1_000, 40) };
    let endpoints: Arc<[Endpoint]> = cluster.endpoints(GUARDS).await?.into();
    let mut revokers = Vec::new();
    for server in 0..cluster.servers().len() {
        revokers.push(cluster.client(server, 0).await?);
    }
    let tokens = create_tokens(&revokers[0], count).await?;
    let (mut random, mut revocations) = (Random::new(13), JoinSet::new());
    for (token, revoker) in tokens.into_iter().zip(revokers.iter().cycle()) {
        sleep(random.until_next(Duration::from_millis(mean))).await;
        let (clock, revoker, wrong) = (bench.clock.clone(), revoker.clone(), wrong.clone());
        let endpoints = Arc::clone(&endpoints);
        revocations.spawn(async move {
            for endpoint in &*endpoints {
                endpoint.warm(&clock, &token, &wrong).await?;
            }
            let times = revoke(&revoker, &clock, &token, false).await?;
            for endpoint in &*endpoints {
                endpoint.check_revoked(&clock, &token, &wrong).await?;
            }
            Ok::<_, BoxError>(times.took())
        });
    }
    let mut took = Vec::with_capacity(count);
    while let Some(returned) = revocations.join_next().await {
        took.push(returned??);
    }
    let took = Durations::of(took);
    let (wait, with_margin) = (millis(lease), Terms::with_margin(lease));
    let note = format!(
        "{count} revocations; the wait is {wait:.0} ms and its margin {:.0} ms; median {:.0} ms, longest {:.0} ms",
        millis(with_margin) - wait,
        millis(took.median()),
        millis(took.max())
    );
    let name = format!("RevokeToken returns, p99, with a lease of {wait:.0} ms");
    Ok(Figure::of_duration(name, took.percentile_99(), note).at_most(millis(with_margin + REST)))
}
