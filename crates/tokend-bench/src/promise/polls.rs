//! Whether a Verify is slower while its server polls.
//!
//! Two servers run at the same time on two databases of one PostgreSQL. One has the shortest lease and polls 200 times
//! a second, the other the longest and polls every three seconds. One client asks both in turn, one question at a time,
//! and every answer comes from memory. So whatever else the machine does, the polls of the first server and their work
//! in PostgreSQL included, slows down both alike, and what differs is only what a poll does inside its server. If a
//! poll held up verdicts for a millisecond, a fifth of the first server's answers would be late.
//!
//! Whole blocks of questions are drawn anew for the interval, because slow answers come in groups.

use std::time::Duration;

use tokend_client::{Client, v1};
use tokend_core::lease::Terms;

use super::{
    Bench,
    calls::{Token, create_tokens, question},
    cluster::Cluster,
    random::bootstrap,
    report::{Figure, Unit, millis},
};
use crate::{
    BoxError,
    durations::{Durations, ratio},
};

/// Questions to each server in a block.
const BLOCK: usize = 300;

/// The target: within 10 %.
const MOST: f64 = 1.1;

/// The answers of a block: of the server that polls often, and of the other.
type Block = [Answers; 2];

#[derive(Default)]
struct Answers {
    took: Vec<Duration>,
    /// How many were not from memory, because the lease had ended.
    read: usize,
    /// How many calls failed, which happens when the machine is too busy for the deadline.
    failed: usize,
}

pub(super) async fn measure(bench: &Bench) -> Result<Option<Vec<Figure>>, BoxError> {
    let Some(often) = Cluster::on_postgres(bench, Terms::MIN, 1).await? else {
        return Ok(None);
    };
    let Some(rarely) = Cluster::on_postgres(bench, Terms::MAX, 1).await? else {
        return Ok(None);
    };
    let mut servers = Vec::new();
    for cluster in [&often, &rarely] {
        let client = cluster.client(0, 0).await?;
        let token = create_tokens(&client, 1).await?.remove(0);
        servers.push((client, token));
    }
    let span = Duration::from_millis(if bench.short { 500 } else { 120_000 });
    // The first answers are slower.
    block(bench, &servers).await?;
    let (start, mut blocks) = (bench.clock.boot_time(), Vec::new());
    while bench.clock.boot_time().saturating_since(start) < span {
        blocks.push(block(bench, &servers).await?);
    }
    Ok(Some(vec![figure(&blocks)]))
}

async fn block(bench: &Bench, servers: &[(Client, Token)]) -> Result<Block, BoxError> {
    let mut block = Block::default();
    for _ in 0..BLOCK {
        for (answers, (client, token)) in block.iter_mut().zip(servers) {
            let question = question(token);
            let start = bench.clock.boot_time();
            let answer = client.token_verify().verify(question).await;
            answers.took.push(bench.clock.boot_time().saturating_since(start));
            let Ok(answer) = answer else {
                answers.failed += 1;
                continue;
            };
            let answer = answer.into_inner();
            if answer.decision() != v1::Decision::Allow {
                return Err(format!("a living token is denied: {:?}", answer.deny_reason()).into());
            }
            // Only an answer from memory may be cached by a client that does not watch.
            answers.read += usize::from(answer.cacheable_for.unwrap_or_default() == Default::default());
        }
    }
    Ok(block)
}

fn figure(blocks: &[Block]) -> Figure {
    let every: Vec<&Block> = blocks.iter().collect();
    let [often, rarely] = [0, 1].map(|server| Durations::of(took(&every, server)));
    let sum = |of: fn(&Answers) -> usize| every.iter().flat_map(|block| block.iter()).map(of).sum::<usize>();
    let (read, failed) = (sum(|answers| answers.read), sum(|answers| answers.failed));
    let note = format!(
        "{} answers of each server; p99.9 {:.2} ms with 200 polls a second, {:.2} ms with one in 3 seconds; medians \
         {:.3} ms and {:.3} ms; {read} answers read the database, because a lease had ended, and {failed} calls failed",
        often.count(),
        millis(often.percentile_99_9()),
        millis(rarely.percentile_99_9()),
        millis(often.median()),
        millis(rarely.median())
    );
    let relative = ratio(often.percentile_99_9(), rarely.percentile_99_9());
    let name = "Verify from memory during polls, p99.9, relative to without";
    Figure::new(name, relative, Unit::Times, note)
        .within(bootstrap(blocks, |drawn| {
            let [often, rarely] = [0, 1].map(|server| percentile_99_9(took(drawn, server)));
            ratio(often, rarely)
        }))
        .at_most(MOST)
}

fn took(blocks: &[&Block], server: usize) -> Vec<Duration> {
    let answers = blocks.iter().map(|block| &block[server].took);
    answers.flatten().copied().collect()
}

/// Returns the 99.9th percentile without sorting all.
fn percentile_99_9(mut durations: Vec<Duration>) -> Duration {
    let index = (durations.len() * 999).div_ceil(1_000).saturating_sub(1);
    let (_, percentile, _) = durations.select_nth_unstable(index);
    *percentile
}
