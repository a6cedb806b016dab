//! Measures what the promise about revocations costs and how soon revocations hold, and prints a table.
//!
//! `cargo build --release -p tokend-cli -p tokend-bench && target/release/promise [--short] [--json]`. Fails if a
//! verdict was wrong. No figure fails it.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

use std::process::ExitCode;

use clap::Parser;
use tokend_bench::{BoxError, promise};

/// Measures how soon revocations hold and what that costs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: promise::Options,
    /// Print JSON instead of Markdown
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, BoxError> {
    let Arguments { options, json } = Arguments::parse();
    let report = promise::run(&options).await?;
    print!("{}", if json { report.json()? } else { report.markdown() });
    Ok(if report.is_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
