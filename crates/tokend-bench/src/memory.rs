//! How much memory a token takes that is cached, in the real server.
//!
//! Tokens are verified for the first time, step by step, and after each step the server's resident memory is read. The
//! slope of a line through these points is the memory of a token, with what the allocator wastes, and without what the
//! server takes anyway.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use crate::{
    BoxError,
    driver::{self, Answers, Shape, Target},
    servers::{Database, Installation, tokend_beside_this},
    verify::VERIFY,
};

const STEPS: usize = 10;
/// The first steps, in which the server's own memory still grows, are not in the slope.
const WARM_UP: usize = 2;
const SHAPE: Shape = Shape {
    connections: 1,
    streams: 16,
};
/// The server may use more memory than by default, so that it forgets no token.
const MAX_CACHE_BYTES: u64 = 4 << 30;

/// Measure how much memory a cached token takes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tokens
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = enough)]
    tokens: usize,

    /// The program to measure [default: `tokend` beside this program]
    #[arg(long, value_name = "PATH")]
    tokend: Option<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// A server's memory with this many tokens in it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Point {
    cached_tokens: f64,
    resident_bytes: f64,
}

#[derive(Serialize)]
struct Report {
    bytes_per_token: f64,
    points: Vec<Point>,
}

/// Runs the command.
///
/// # Errors
/// The server does not start, an answer is wrong, or a token is not cached.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let tokend = args.tokend.clone().map_or_else(tokend_beside_this, Ok)?;
    let installation = Installation::new(&tokend, Database::Sqlite, args.tokens).await?;
    installation.set_limits(&format!("max_cache_bytes = {MAX_CACHE_BYTES}\n"))?;
    let server = installation.serve(&tokend, "memory", None)?;
    let questions = installation.questions(args.tokens);
    let step = args.tokens.div_ceil(STEPS);
    let mut points = Vec::new();
    for (messages, names) in questions.messages.chunks(step).zip(questions.names.chunks(step)) {
        let target = Target::new(
            (server.address(), server.pid()),
            None,
            VERIFY,
            installation.key(),
            messages,
            Answers::Allow(names.to_vec()),
        )?;
        driver::call(&Arc::new(target), SHAPE, u64::try_from(messages.len())?).await?;
        // The gauge is set every second.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        points.push(Point {
            cached_tokens: server.metric("tokend_cached_tokens")?,
            resident_bytes: server.memory()?.resident,
        });
    }
    server.stop()?;
    let last = points.last().map_or(0.0, |point| point.cached_tokens);
    if last < args.tokens as f64 {
        return Err(format!("only {last} of {} tokens are cached", args.tokens).into());
    }
    let report = Report {
        bytes_per_token: slope(&points[WARM_UP..]),
        points,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    for point in &report.points {
        println!(
            "{:>9} tokens: {:>7.1} MiB",
            point.cached_tokens,
            point.resident_bytes / 1_048_576.0
        );
    }
    println!("{:.0} bytes for a token", report.bytes_per_token);
    Ok(())
}

fn enough(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(tokens) if tokens >= 100 * STEPS => Ok(tokens),
        _ => Err(format!("it must be a number from {} on", 100 * STEPS)),
    }
}

/// Returns the slope of the line with the least squares of distances.
fn slope(points: &[Point]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&Point) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.cached_tokens), mean(|point| point.resident_bytes));
    let (mut both, mut square) = (0.0, 0.0);
    for point in points {
        both += (point.cached_tokens - x) * (point.resident_bytes - y);
        square += (point.cached_tokens - x).powi(2);
    }
    both / square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_takes_anyway_is_not_in_the_slope() {
        let point = |tokens: f64, noise: f64| Point {
            cached_tokens: tokens,
            resident_bytes: 5e6 + 200.0 * tokens + noise,
        };
        let points = [point(1e3, 1.0), point(2e3, -2.0), point(3e3, 1.0)];
        assert!((slope(&points) - 200.0).abs() < 1e-6);
    }
}
