//! What a Verify costs that is answered from memory, relative to calls that do nothing.
//!
//! Each server is a process of its own. A round measures each of them in two windows, in mirrored order (A B C C B A),
//! so that a machine that gets slower or faster during the round does so for all of them alike. Within a round the two
//! windows of a server are added up, and the servers' figures are divided. See `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

mod contenders;
mod promises;
mod report;

use std::{path::PathBuf, time::Duration};

pub use self::contenders::VERIFY;
use self::{
    contenders::Contender,
    report::{Measured, Report},
};
use crate::{
    BoxError,
    driver::{self, Shape, Window},
    machine::Watch,
    servers::Certificate,
};

/// Measure what a Verify costs, relative to empty calls on the same machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tokens in the database [default: 100000]
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,

    /// Connections x calls in flight on each
    #[arg(
        long,
        value_name = "CxS,...",
        value_delimiter = ',',
        default_value = "8x8,1x64,64x1,1x1"
    )]
    shapes: Vec<Shape>,

    /// Pairs of windows for each shape and server, from which one ratio is computed [default: 15]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,

    /// Milliseconds that a window lasts [default: 300]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..))]
    window: Option<u64>,

    /// The database of the servers. For PostgreSQL, a server is started from the programs on this machine
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,

    /// Speak TLS 1.3 with all servers
    #[arg(long)]
    tls: bool,

    /// Tokens that are verified, chosen at random for each call
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    hot: usize,

    /// Verify all tokens, chosen at random for each call
    #[arg(long, conflicts_with = "hot")]
    spread: bool,

    /// The program to measure [default: `tokend` beside this program]
    #[arg(long, value_name = "PATH")]
    tokend: Option<PathBuf>,

    /// Another build of it to compare with
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,

    /// Compare the program with itself, too: what differs there is noise
    #[arg(long)]
    noise: bool,

    /// Measure no empty calls
    #[arg(long)]
    no_floors: bool,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,

    /// Take a few seconds only: this shows that everything works, and no figure means anything
    #[arg(long)]
    short: bool,
}

/// The kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

/// The size of a run.
#[derive(Clone, Copy, Debug)]
struct Dose {
    tokens: usize,
    rounds: u32,
    warm_up: Duration,
    window: Duration,
}

impl Dose {
    fn of(args: &Args) -> Self {
        let (tokens, rounds, warm_up, window) = if args.short {
            (1_000, 2, 20, 60)
        } else {
            (100_000, 15, 100, 300)
        };
        Self {
            tokens: args.tokens.unwrap_or(tokens),
            rounds: args.pairs.unwrap_or(rounds),
            warm_up: Duration::from_millis(warm_up),
            window: Duration::from_millis(args.window.unwrap_or(window)),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A server does not start, or an answer is wrong. No figure is an error.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let dose = Dose::of(args);
    // It outlives the servers, which read it again and again.
    let certificate = args.tls.then(Certificate::new).transpose()?;
    let contenders = contenders::start(args, dose.tokens, certificate.as_ref()).await?;
    let before = contenders[0].look_ups()?;
    let watch = Watch::begin(contenders.iter().map(Contender::pid))?;
    let mut measured = Vec::with_capacity(args.shapes.len());
    for shape in &args.shapes {
        measured.push(measure(&contenders, *shape, dose).await?);
    }
    let busy = watch.end()?;
    let after = contenders[0].look_ups()?;
    let [memory, database] = [after[0] - before[0], after[1] - before[1]];
    let from_memory = memory / (memory + database);
    for contender in contenders {
        contender.stop()?;
    }
    let report = Report::new(args, dose, (busy, from_memory), &measured);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Measures all servers in each round.
async fn measure(contenders: &[Contender], shape: Shape, dose: Dose) -> Result<Measured, BoxError> {
    let mut rounds = Vec::new();
    for _ in 0..dose.rounds {
        let mut round = vec![Window::default(); contenders.len()];
        let order = (0..contenders.len()).chain((0..contenders.len()).rev());
        for index in order {
            let target = &contenders[index].target;
            let window = driver::measure(target, shape, dose.warm_up, dose.window).await?;
            round[index].add(&window);
        }
        rounds.push(round);
    }
    Ok(Measured {
        shape,
        kinds: contenders.iter().map(|contender| contender.kind).collect(),
        rounds,
    })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a number from 1 on".to_owned()),
    }
}
