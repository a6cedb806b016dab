//! How many verdicts a second BatchVerify gives, relative to Verify.
//!
//! Both ask the same server about the same tokens in memory, in windows that alternate in mirrored order (A B B A). See
//! `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use crate::{
    BoxError,
    driver::{self, Answers, Shape, Target, Window},
    machine::{Busy, Watch},
    servers::{Database, Installation, tokend_beside_this},
    statistics::{Estimate, median},
    verify::{VERIFY, Windows, at_least_one},
};

const BATCH_VERIFY: &str = "/tokend.v1.TokenVerify/BatchVerify";

/// Measure the verdicts per second of BatchVerify, relative to Verify
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Questions in a batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    questions: u16,

    /// Connections x calls in flight on each
    #[arg(long, value_name = "CxS,...", value_delimiter = ',', default_value = "8x8,1x64")]
    shapes: Vec<Shape>,

    #[command(flatten)]
    windows: Windows,

    /// Tokens that are verified, chosen at random for each call
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    hot: usize,

    /// The program to measure [default: `tokend` beside this program]
    #[arg(long, value_name = "PATH")]
    tokend: Option<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// The results.
#[derive(Serialize)]
struct Report {
    machine: Busy,
    questions: u16,
    pairs: u32,
    shapes: Vec<OfShape>,
}

/// The medians of one shape.
#[derive(Serialize)]
struct OfShape {
    shape: String,
    verify_per_second: f64,
    batched_per_second: f64,
    ratio: Estimate,
    verify_cpu_micros: f64,
    batched_cpu_micros: f64,
}

/// Runs the command.
///
/// # Errors
/// The server does not start, or an answer is wrong. No figure is an error.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let dose = args.windows.dose();
    let tokend = args.tokend.clone().map_or_else(tokend_beside_this, Ok)?;
    let installation = Installation::new(&tokend, Database::Sqlite, args.hot).await?;
    let server = installation.serve(&tokend, "serve", None)?;
    let questions = installation.questions(args.hot);
    let target = |path, messages: &[Vec<u8>], answers| {
        let at = (server.address(), server.pid());
        Target::new(at, None, path, installation.key(), messages, answers).map(Arc::new)
    };
    let (messages, names) = questions.batches(args.questions.into());
    let single = target(VERIFY, &questions.messages, Answers::Allow(questions.names))?;
    let batched = target(BATCH_VERIFY, &messages, Answers::AllowEach(names))?;
    // Reads the tokens into memory.
    driver::call(
        &single,
        Shape {
            connections: 1,
            streams: 16,
        },
        u64::try_from(args.hot)?,
    )
    .await?;

    let watch = Watch::begin([server.pid()])?;
    let mut shapes = Vec::new();
    for shape in &args.shapes {
        let mut rounds = Vec::new();
        for _ in 0..dose.rounds {
            let mut windows = [Window::default(), Window::default()];
            for (index, target) in [(0, &single), (1, &batched), (1, &batched), (0, &single)] {
                let window = driver::measure(target, *shape, dose.warm_up, dose.window).await?;
                windows[index].add(&window);
            }
            rounds.push(windows);
        }
        shapes.push(OfShape::new(*shape, args.questions, &rounds));
    }
    let machine = watch.end()?;
    server.stop()?;
    let report = Report {
        machine,
        questions: args.questions,
        pairs: dose.rounds,
        shapes,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

impl OfShape {
    fn new(shape: Shape, questions: u16, rounds: &[[Window; 2]]) -> Self {
        let in_a_batch = f64::from(questions);
        let medians = |figure: &dyn Fn(&[Window; 2]) -> f64| median(rounds.iter().map(figure).collect());
        let ratios: Vec<f64> = rounds
            .iter()
            .map(|[single, batched]| batched.rate() * in_a_batch / single.rate())
            .collect();
        Self {
            shape: shape.to_string(),
            verify_per_second: medians(&|[single, _]| single.rate()),
            batched_per_second: medians(&|[_, batched]| batched.rate() * in_a_batch),
            ratio: Estimate::of(&ratios),
            verify_cpu_micros: medians(&|[single, _]| single.server_micros()),
            batched_cpu_micros: medians(&|[_, batched]| batched.server_micros() / in_a_batch),
        }
    }
}

fn print(report: &Report) {
    println!(
        "batches of {}, medians of {} pairs of windows; {}",
        report.questions, report.pairs, report.machine
    );
    println!("promise for verdicts per second, relative to Verify: 6; aim: 10");
    for shape in &report.shapes {
        let OfShape {
            shape,
            verify_per_second,
            batched_per_second,
            ratio,
            verify_cpu_micros,
            batched_cpu_micros,
        } = shape;
        println!(
            "{shape}: {batched_per_second:.0} against {verify_per_second:.0} verdicts/s, ratio {:.2} [{:.2}, {:.2}]; \
             {batched_cpu_micros:.2} against {verify_cpu_micros:.2} us of CPU for each",
            ratio.median, ratio.low, ratio.high
        );
    }
}
