//! RevokeToken of a server with a SQLite file, while nobody watches: it waits for no lease. One call after the other.

use tokend_core::lease::Terms;
use tokio::time::sleep;

use super::{
    Bench,
    calls::{create_tokens, revoke},
    cluster::Cluster,
    endpoint::Wrong,
    report::{Figure, millis},
};
use crate::{BoxError, durations::Durations};

/// The target in milliseconds.
const MOST: f64 = 5.0;

pub(super) async fn measure(bench: &Bench, wrong: &Wrong) -> Result<Vec<Figure>, BoxError> {
    let lease = Cluster::lease(bench.short);
    let cluster = Cluster::on_sqlite(bench, lease).await?;
    let (client, endpoint) = (cluster.client(0, 0).await?, cluster.endpoint(0).await?);
    let tokens = create_tokens(&client, if bench.short { 30 } else { 1_000 }).await?;
    // After its start, a server waits for the leases that a former process may have given.
    sleep(Terms::with_margin(lease)).await;
    let mut took = Vec::with_capacity(tokens.len());
    for token in &tokens {
        endpoint.warm(&bench.clock, token, wrong).await?;
        took.push(revoke(&client, &bench.clock, token, false).await?.took());
        endpoint.check_revoked(&bench.clock, token, wrong).await?;
    }
    let took = Durations::of(took);
    let note = format!(
        "{} revocations, one after the other; 99 % {:.1} ms, longest {:.1} ms",
        took.count(),
        millis(took.percentile_99()),
        millis(took.max())
    );
    let name = "RevokeToken on SQLite without watchers, p50";
    Ok(vec![Figure::of_duration(name, took.median(), note).at_most(MOST)])
}
