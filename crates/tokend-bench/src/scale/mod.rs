//! What many stored tokens cost a server that has nothing to do with most of them: the CPU time of a Verify from
//! memory, the start, and the memory of an idle server.
//!
//! Everything is compared with the same program on an installation with few tokens, in the same run. Both have the same
//! workspaces, and the same number of tokens that are verified.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

mod report;
mod starts;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use self::report::{Report, TokensStored};
use crate::{
    BoxError,
    driver::Shape,
    load::{Load, Loaded},
    servers::{Installation, tokend_beside_this},
    verify::{self, Contender, Database, Kind, Setting, Windows, at_least_one},
};

/// Measure what many stored tokens cost, beside a server with few: a Verify from memory, the start, idle memory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tokens in the database, loaded as `tokend-bench load` does [default: 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,

    /// Tokens in the other database
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    few: u64,

    /// Use an installation that `tokend-bench load` filled, in this data directory. Some tokens, a VERIFIER and a key
    /// of an ADMIN are added to it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tokens", "database"])]
    data_dir: Option<PathBuf>,

    /// Its database [default: tokend.db in the data directory]. For PostgreSQL, the other one is on a server that is
    /// started here, or on the one that `TOKEND_TEST_POSTGRES_URL` names
    #[arg(long, value_name = "URL", requires = "data_dir")]
    database_url: Option<String>,

    /// The kind of both databases. For PostgreSQL, a server is started from the programs on this machine
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,

    /// Starts of each server [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    starts: Option<u32>,

    /// Seconds after a start after which a server counts as idle, and its memory is read
    #[arg(long, value_name = "S", default_value_t = 2)]
    idle_after: u64,

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

/// Runs the command.
///
/// # Errors
/// A database can't be filled, a server does not start, or an answer is wrong. No figure is an error.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let tokend = args.tokend.clone().map_or_else(tokend_beside_this, Ok)?;
    let (many, stored) = many(args, &tokend).await?;
    let database = match &args.database_url {
        Some(url) if url.starts_with("postgres") => Database::Postgres,
        Some(_) => Database::Sqlite,
        None => args.database,
    };
    let (few, of_few) = Installation::loaded(&tokend, database.create()?, Load::of(args.few), args.hot).await?;
    let stored = TokensStored {
        few: of_few.tokens,
        ..stored
    };

    let count = args.starts.unwrap_or(if args.windows.short { 1 } else { 5 });
    let idle_after = Duration::from_secs(args.idle_after);
    let starts = starts::measure([&many, &few], &tokend, count, idle_after).await?;

    let dose = args.windows.dose();
    let contenders = vec![
        Contender::start(Kind::Tokend, &tokend, many, args.hot, None).await?,
        Contender::start(Kind::FewTokens, &tokend, few, args.hot, None).await?,
    ];
    let outcome = verify::compare(contenders, &args.shapes, dose).await?;
    let setting = Setting {
        database: database.name(),
        tls: false,
        tokens: stored.many,
        verified_tokens: args.hot,
        pairs: dose.rounds,
        window_ms: dose.window.as_millis(),
        short: args.windows.short,
    };
    let report = Report {
        stored,
        idle_after_seconds: args.idle_after,
        starts,
        verify: verify::Report::new(setting, &outcome),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Returns the installation with many tokens, and how many.
async fn many(args: &Args, tokend: &Path) -> Result<(Installation, TokensStored), BoxError> {
    if let Some(data_dir) = args.data_dir.clone() {
        let (many, tokens) = Installation::existing(tokend, data_dir, args.database_url.clone(), args.hot).await?;
        let stored = TokensStored {
            many: tokens,
            ..TokensStored::default()
        };
        return Ok((many, stored));
    }
    let tokens = args.tokens.unwrap_or(if args.windows.short { 2_000 } else { 20_000 });
    let (many, loaded) = Installation::loaded(tokend, args.database.create()?, Load::of(tokens), args.hot).await?;
    let Loaded { tokens, .. } = loaded;
    let stored = TokensStored {
        many: tokens,
        loaded_per_second: Some(loaded.rate()),
        ..TokensStored::default()
    };
    Ok((many, stored))
}
