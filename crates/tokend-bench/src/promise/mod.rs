//! The figures of the promise: how soon a revocation holds everywhere, and what it costs that it does.
//!
//! Each figure has a module, which says what exactly is measured. Servers are processes of the real program, the
//! watching clients are guards of the SDK in this process. All of them talk over loopback, and end with this process. A
//! verdict that the promise forbids is counted as wrong, whatever is being measured.
//!
//! - `visible`: how soon a revocation is seen by three servers and by guards.
//! - `returns`: how soon RevokeToken returns.
//! - `parallel`: 200 calls of RevokeToken at once, compared to one.
//! - `embedded`: RevokeToken on SQLite, where nobody watches.
//! - `polls`: whether a Verify is slower while its server polls.
//! - `cost`: the part of a Verify that checks leases and slots.
//! - `restarts`: verdicts while the database crashes and restarts.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

mod calls;
mod cluster;
mod cost;
mod embedded;
mod endpoint;
mod parallel;
mod polls;
mod process;
mod random;
mod report;
mod restarts;
mod returns;
mod visible;

use std::{io, io::Write as _, path::PathBuf, time::Duration};

use tokend_core::time::Clock;
use tokio::signal::unix::{SignalKind, signal};

use self::{cluster::Cluster, endpoint::Wrong, report::Report};
use crate::{BoxError, servers::tokend_beside_this};

/// Measure how soon revocations hold and what that costs
///
/// Fails if a verdict was wrong. No figure fails it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Measure for only a few seconds: enough to see wrong verdicts, not enough for figures
    #[arg(long)]
    short: bool,

    /// How often the database is restarted [default: 200, or 2 with --short]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    restarts: Option<u32>,

    /// Measure only these
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,

    /// The program that serves [default: `tokend` beside this program]
    #[arg(long, value_name = "PATH")]
    tokend: Option<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// How soon a revocation is seen everywhere.
    Visible,
    /// How soon RevokeToken returns.
    Returns,
    /// 200 calls of RevokeToken at once.
    Parallel,
    /// RevokeToken on SQLite.
    Embedded,
    /// Verify during polls.
    Polls,
    /// What the checks of leases and slots cost.
    Cost,
    /// Verdicts while the database restarts.
    Restarts,
}

/// What all parts need.
struct Bench {
    clock: Clock,
    program: PathBuf,
    short: bool,
}

/// How long a run may take without restarts of the database, and each of these.
const LONGEST: Duration = Duration::from_secs(1_800);
const LONGEST_RESTART: Duration = Duration::from_secs(30);

/// Runs the command. Everything that was started has ended when this returns, also if SIGINT or SIGTERM ends it.
///
/// # Errors
/// A verdict was wrong, something could not be started, a call failed that no outage explains, or a signal came.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let report = measure(args).await?;
    if args.json {
        println!("{}", report.json()?);
    } else {
        print!("{}", report.markdown());
    }
    if report.is_right() {
        Ok(())
    } else {
        Err("a verdict was wrong".into())
    }
}

async fn measure(args: &Args) -> Result<Report, BoxError> {
    let restarts = args.restarts.unwrap_or(if args.short { 2 } else { 200 });
    let bench = Bench {
        clock: Clock::system(),
        program: match &args.tokend {
            Some(program) => program.clone(),
            None => tokend_beside_this()?,
        },
        short: args.short,
    };
    let is_wanted = |part: Part| args.only.is_empty() || args.only.contains(&part);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let measuring = tokio::time::timeout(LONGEST + LONGEST_RESTART * restarts, bench.measure(is_wanted, restarts));
    tokio::select! {
        report = measuring => report?,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

impl Bench {
    async fn measure(&self, is_wanted: impl Fn(Part) -> bool, restarts: u32) -> Result<Report, BoxError> {
        let (mut report, wrong) = (Report::begin(self.short), Wrong::default());
        self.measure_three_servers(&is_wanted, &wrong, &mut report).await?;
        if is_wanted(Part::Embedded) {
            progress("RevokeToken on SQLite");
            report.add(embedded::measure(self, &wrong).await?);
        }
        if is_wanted(Part::Polls) {
            progress("Verify during polls");
            report.add_or_miss(polls::measure(self).await?);
        }
        if is_wanted(Part::Restarts) {
            progress("restarts of the database");
            report.add_or_miss(restarts::measure(self, restarts, &wrong).await?);
        }
        report.end(&wrong);
        Ok(report)
    }

    /// Measures what needs three servers on one database.
    async fn measure_three_servers(
        &self,
        is_wanted: impl Fn(Part) -> bool,
        wrong: &Wrong,
        report: &mut Report,
    ) -> Result<(), BoxError> {
        let parts = [Part::Visible, Part::Returns, Part::Parallel, Part::Cost];
        if !parts.into_iter().any(&is_wanted) {
            return Ok(());
        }
        let Some(cluster) = Cluster::on_postgres(self, Cluster::lease(self.short), 3).await? else {
            report.add_or_miss(None);
            return Ok(());
        };
        if is_wanted(Part::Visible) {
            progress("how soon a revocation is seen");
            report.add(visible::measure(self, &cluster, wrong).await?);
        }
        if is_wanted(Part::Returns) {
            progress("how soon RevokeToken returns");
            report.add(returns::measure(self, &cluster, wrong).await?);
        }
        if is_wanted(Part::Parallel) {
            progress("200 revocations at once");
            report.add(parallel::measure(self, &cluster, wrong).await?);
        }
        if is_wanted(Part::Cost) {
            progress("what the checks cost");
            report.add(cost::measure(self, &cluster).await?);
        }
        Ok(())
    }
}

/// Says on stderr what is being measured.
fn progress(what: &str) {
    // It is lost if stderr is closed.
    let _ = writeln!(io::stderr(), "measuring: {what}");
}
