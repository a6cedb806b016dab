//! How long the SDK's `TokenGuard` takes for a request that its cache answers.
//!
//! The guard watches a real server. Its hits wait for nothing, so they are timed in batches, between which the guard's
//! stream goes on: its lease has to be renewed. See `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

use std::{hint::black_box, path::PathBuf, time::Duration};

use prost::Message;
use serde::Serialize;
use tokend_client::{
    CallerKey, Client,
    guard::{StreamState, TokenGuard},
    v1::VerifyRequest,
};
use tokend_core::time::Clock;

use crate::{
    BoxError,
    machine::{Busy, Watch},
    servers::{Database, Installation, tokend_beside_this},
    statistics::{Estimate, SplitMix64},
    verify::at_least_one,
};

/// Requests in a batch: a millisecond or less, so that the guard's stream is never late.
const BATCH: u32 = 1_000;
const BATCHES: usize = 1_000;
const FEW_BATCHES: usize = 20;

/// How long the guard's stream may take to open.
const STREAM_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Measure how long a TokenGuard takes for a request that its cache answers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tokens in the cache, chosen at random for each request
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    tokens: usize,

    /// The server to watch [default: `tokend` beside this program]
    #[arg(long, value_name = "PATH")]
    tokend: Option<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,

    /// Take a second only: this shows that everything works, and no figure means anything
    #[arg(long)]
    short: bool,
}

/// The results.
#[derive(Serialize)]
struct Report {
    machine: Busy,
    tokens: usize,
    hits: u64,
    /// Requests that the cache did not answer. They are in the times.
    misses: u64,
    nanos_per_hit: Estimate,
}

/// Runs the command.
///
/// # Errors
/// The server does not start, or a token is denied. No figure is an error.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let tokend = args.tokend.clone().map_or_else(tokend_beside_this, Ok)?;
    let installation = Installation::new(&tokend, Database::Sqlite, args.tokens).await?;
    let server = installation.serve(&tokend, "serve", None)?;
    let key = CallerKey::new(installation.key())?;
    let guard = TokenGuard::new(&Client::connect(&server.address().to_string(), &key).await?);
    tokio::time::timeout(STREAM_LIMIT, async {
        while guard.stats().stream != StreamState::Open {
            tokio::time::sleep(POLL).await;
        }
    })
    .await
    .map_err(|_| "the guard's stream does not open")?;
    let messages = installation.questions(args.tokens).messages;
    let questions: Vec<_> = messages
        .iter()
        .map(|message| VerifyRequest::decode(&**message))
        .collect::<Result<_, _>>()?;
    for question in &questions {
        ask(&guard, question).await?;
    }

    let watch = Watch::begin([server.pid()])?;
    let before = guard.stats();
    let nanos = times(&guard, &questions, if args.short { FEW_BATCHES } else { BATCHES }).await?;
    let after = guard.stats();
    let machine = watch.end()?;
    guard.shutdown().await;
    server.stop()?;
    let report = Report {
        machine,
        tokens: questions.len(),
        hits: after.hits - before.hits,
        misses: after.misses - before.misses,
        nanos_per_hit: Estimate::of(&nanos),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// Returns the time for each request of some batches, in nanoseconds.
async fn times(guard: &TokenGuard, questions: &[VerifyRequest], batches: usize) -> Result<Vec<f64>, BoxError> {
    let (clock, mut random, mut nanos) = (Clock::system(), SplitMix64(1), Vec::with_capacity(batches));
    for _ in 0..batches {
        let start = clock.boot_time();
        for _ in 0..BATCH {
            ask(guard, &questions[random.below(questions.len())]).await?;
        }
        let took = clock.boot_time().saturating_since(start);
        nanos.push(took.as_secs_f64() * 1e9 / f64::from(BATCH));
        // The stream's task shares this thread.
        tokio::task::yield_now().await;
    }
    Ok(nanos)
}

async fn ask(guard: &TokenGuard, question: &VerifyRequest) -> Result<(), BoxError> {
    let VerifyRequest {
        token,
        resource,
        required_scopes,
        ..
    } = question;
    black_box(guard.verify(token, resource, required_scopes, None).await?);
    Ok(())
}

fn print(report: &Report) {
    let Report {
        machine,
        tokens,
        hits,
        misses,
        nanos_per_hit: Estimate { median, low, high },
    } = report;
    println!("TokenGuard with {tokens} tokens in its cache; {machine}");
    println!("{hits} hits, {misses} misses");
    println!("{median:.0} ns for a hit [{low:.0}, {high:.0}]; promise: 1000 ns, aim: 300 ns");
}
