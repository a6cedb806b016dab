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
use self::report::Measured;
pub(crate) use self::{
    contenders::{Contender, Kind},
    report::{Report, Setting},
};
use crate::{
    BoxError,
    driver::{self, Shape, Window},
    machine::{Busy, Watch},
    servers::{self, Certificate},
};
use tokend_test_support::postgres;

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

    #[command(flatten)]
    windows: Windows,

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
}

/// How much is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Windows {
    /// Pairs of windows for each shape and server, from which one ratio is computed [default: 15]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,

    /// Milliseconds that a window lasts [default: 300]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..))]
    window: Option<u64>,

    /// Take a few seconds only: this shows that everything works, and no figure means anything
    #[arg(long)]
    pub(crate) short: bool,
}

/// The kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    /// Creates an empty database. For PostgreSQL, the first call starts a server.
    ///
    /// # Errors
    /// There is no PostgreSQL.
    pub(crate) fn create(self) -> Result<servers::Database, BoxError> {
        Ok(match self {
            Self::Sqlite => servers::Database::Sqlite,
            Self::Postgres => servers::Database::Postgres(postgres::database().ok_or("found no PostgreSQL")?),
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dose {
    pub(crate) rounds: u32,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What was measured of servers side by side.
pub(crate) struct Outcome {
    machine: Busy,
    /// The part (0 to 1) of the first server's look-ups that did not need the database.
    from_memory: f64,
    measured: Vec<Measured>,
}

impl Windows {
    /// Windows of 300 ms after 100 ms; short ones show only that everything works.
    pub(crate) fn dose(self) -> Dose {
        let (all, warm_up, length) = if self.short { (2, 20, 60) } else { (15, 100, 300) };
        Dose {
            rounds: self.pairs.unwrap_or(all),
            warm_up: Duration::from_millis(warm_up),
            window: Duration::from_millis(self.window.unwrap_or(length)),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A server does not start, or an answer is wrong. No figure is an error.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let dose = args.windows.dose();
    let tokens = args.tokens.unwrap_or(if args.windows.short { 1_000 } else { 100_000 });
    // It outlives the servers, which read it again and again.
    let certificate = args.tls.then(Certificate::new).transpose()?;
    let contenders = contenders::start(args, tokens, certificate.as_ref()).await?;
    let outcome = compare(contenders, &args.shapes, dose).await?;
    let setting = Setting {
        database: args.database.name(),
        tls: args.tls,
        tokens: u64::try_from(tokens)?,
        verified_tokens: if args.spread { tokens } else { args.hot.min(tokens) },
        pairs: dose.rounds,
        window_ms: dose.window.as_millis(),
        short: args.windows.short,
    };
    let report = Report::new(setting, &outcome);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Measures servers side by side, and stops them. The first one is compared with the others.
pub(crate) async fn compare(contenders: Vec<Contender>, shapes: &[Shape], dose: Dose) -> Result<Outcome, BoxError> {
    let before = contenders[0].look_ups()?;
    let watch = Watch::begin(contenders.iter().map(Contender::pid))?;
    let mut measured = Vec::with_capacity(shapes.len());
    for shape in shapes {
        measured.push(measure(&contenders, *shape, dose).await?);
    }
    let machine = watch.end()?;
    let after = contenders[0].look_ups()?;
    let [memory, database] = [after[0] - before[0], after[1] - before[1]];
    for contender in contenders {
        contender.stop()?;
    }
    Ok(Outcome {
        machine,
        from_memory: memory / (memory + database),
        measured,
    })
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

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a number from 1 on".to_owned()),
    }
}
