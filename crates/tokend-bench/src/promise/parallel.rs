//! 200 calls of RevokeToken at once at one server, compared to one call alone: they share transactions and waits.
//!
//! The calls come from two callers, because one may only take half of the room for revocations. A round is one call
//! alone, 200 at once, and another one alone; its ratio is the time until the last of the 200 has returned, divided by
//! the mean of the two alone. Every server and guard has all tokens in memory, and is asked afterwards.

use std::time::Duration;

use tokend_client::Client;
use tokend_core::lease::Terms;
use tokio::task::JoinSet;

use super::{
    Bench,
    calls::{Token, create_tokens, revoke},
    cluster::Cluster,
    endpoint::{Endpoint, Wrong},
    random::{bootstrap, median},
    report::{Figure, Unit, millis},
    visible::GUARDS,
};
use crate::{BoxError, durations::ratio};

const CALLS: usize = 200;

/// The target.
const MOST: f64 = 2.0;

/// One round.
struct Round {
    alone: Duration,
    at_once: Duration,
}

pub(super) async fn measure(bench: &Bench, cluster: &Cluster, wrong: &Wrong) -> Result<Vec<Figure>, BoxError> {
    let lease = Cluster::lease(bench.short);
    let mut figures = vec![with_lease(bench, cluster, lease, wrong).await?];
    if !bench.short {
        cluster.set_lease(Terms::MIN).await?;
        figures.push(with_lease(bench, cluster, Terms::MIN, wrong).await?);
        cluster.set_lease(lease).await?;
    }
    Ok(figures)
}

async fn with_lease(bench: &Bench, cluster: &Cluster, lease: Duration, wrong: &Wrong) -> Result<Figure, BoxError> {
    let endpoints = cluster.endpoints(GUARDS).await?;
    // Each has a connection of its own. A connection takes 64 calls at once.
    let mut clients = Vec::new();
    for connection in 0..4 {
        clients.push(cluster.client(0, connection % 2).await?);
    }
    let mut rounds = Vec::new();
    for _ in 0..if bench.short { 1 } else { 12 } {
        rounds.push(round(bench, &clients, &endpoints, wrong).await?);
    }
    let ratios: Vec<f64> = rounds.iter().map(|round| ratio(round.at_once, round.alone)).collect();
    let interval = bootstrap(&ratios, |drawn| median(drawn.iter().map(|ratio| **ratio)));
    let note = format!(
        "{} rounds; one alone {:.0} ms, {CALLS} at once {:.0} ms (medians); the largest ratio is {:.2}",
        rounds.len(),
        median(rounds.iter().map(|round| millis(round.alone))),
        median(rounds.iter().map(|round| millis(round.at_once))),
        ratios.iter().copied().fold(0.0, f64::max)
    );
    let name = format!(
        "{CALLS} parallel RevokeToken, relative to one, with a lease of {:.0} ms",
        millis(lease)
    );
    Ok(Figure::new(name, median(ratios), Unit::Times, note)
        .within(interval)
        .at_most(MOST))
}

async fn round(bench: &Bench, clients: &[Client], endpoints: &[Endpoint], wrong: &Wrong) -> Result<Round, BoxError> {
    let clock = &bench.clock;
    let mut tokens = create_tokens(&clients[0], CALLS + 2).await?;
    let rest = tokens.split_off(CALLS);
    // With little time, only some are looked at.
    let watched = || tokens.iter().step_by(if bench.short { 20 } else { 1 });
    for token in watched() {
        for endpoint in endpoints {
            endpoint.warm(clock, token, wrong).await?;
        }
    }
    let before = alone(bench, &clients[0], rest.first()).await?;
    let start = clock.boot_time();
    let mut calls = JoinSet::new();
    for (token, client) in tokens.iter().zip(clients.iter().cycle()) {
        let (client, clock, token) = (client.clone(), clock.clone(), token.clone());
        calls.spawn(async move { revoke(&client, &clock, &token, false).await });
    }
    while let Some(returned) = calls.join_next().await {
        returned??;
    }
    let at_once = clock.boot_time().saturating_since(start);
    for token in watched() {
        for endpoint in endpoints {
            endpoint.check_revoked(clock, token, wrong).await?;
        }
    }
    let after = alone(bench, &clients[0], rest.get(1)).await?;
    Ok(Round {
        alone: (before + after) / 2,
        at_once,
    })
}

async fn alone(bench: &Bench, client: &Client, token: Option<&Token>) -> Result<Duration, BoxError> {
    let token = token.ok_or("a token for a call alone")?;
    Ok(revoke(client, &bench.clock, token, false).await?.took())
}
