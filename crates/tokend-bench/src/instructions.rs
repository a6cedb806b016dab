//! How many instructions a Verify takes, counted by valgrind's callgrind.
//!
//! A count hardly depends on what else the machine does, so it shows changes that CPU times can't: those below 5 %. It
//! is not a time: it knows neither caches nor the kernel. Each build runs twice, with different numbers of calls, and
//! the difference of the counts is divided by the difference of the calls, so that neither the start nor reading the
//! tokens into memory counts.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    BoxError,
    driver::{self, Answers, Shape, Target},
    servers::{Database, Installation, tokend_beside_this},
    verify::VERIFY,
};

/// Tokens that are verified in turn.
const TOKENS: usize = 256;
/// The calls of the shorter run: each token is read into memory, and then verified from there.
const FIRST_CALLS: u64 = 4 * TOKENS as u64;

/// Count the instructions of a Verify with valgrind
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Calls that are counted
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    calls: u64,

    /// Connections x calls in flight on each
    #[arg(long, value_name = "CxS", default_value = "1x1")]
    shape: Shape,

    /// The program to count [default: `tokend` beside this program]
    #[arg(long, value_name = "PATH")]
    tokend: Option<PathBuf>,

    /// Another build of it to compare with
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,

    /// Keep callgrind's files in this directory, for callgrind_annotate
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// The instructions of one call.
#[derive(Serialize)]
struct Counted {
    tokend: PathBuf,
    instructions_per_call: f64,
}

/// Runs the command.
///
/// # Errors
/// There is no valgrind, a server does not start, or an answer is wrong.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    check_for_valgrind()?;
    let directory = tempfile::tempdir()?;
    let files = args.keep.as_deref().unwrap_or(directory.path());
    fs::create_dir_all(files)?;
    let tokend = args.tokend.clone().map_or_else(tokend_beside_this, Ok)?;
    let mut counted = Vec::new();
    for (name, build) in [("tokend", Some(&tokend)), ("against", args.against.as_ref())] {
        let Some(build) = build else { continue };
        let installation = Installation::new(build, Database::Sqlite, TOKENS).await?;
        let mut totals = Vec::new();
        for calls in [FIRST_CALLS, FIRST_CALLS + args.calls] {
            let file = std::path::absolute(files.join(format!("{name}.{calls}.callgrind")))?;
            totals.push(count(build, &installation, args.shape, calls, &file).await?);
        }
        counted.push(Counted {
            tokend: build.clone(),
            instructions_per_call: (totals[1] as f64 - totals[0] as f64) / args.calls as f64,
        });
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&counted)?);
        return Ok(());
    }
    for Counted {
        tokend,
        instructions_per_call,
    } in &counted
    {
        println!(
            "{instructions_per_call:.0} instructions for a Verify by {}",
            tokend.display()
        );
    }
    if let [ours, theirs] = &counted[..] {
        println!("ratio {:.4}", ours.instructions_per_call / theirs.instructions_per_call);
    }
    Ok(())
}

fn check_for_valgrind() -> Result<(), BoxError> {
    let started = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match started {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`valgrind --version` failed: {status}").into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("found no valgrind; install it, on Debian with `apt-get install valgrind`".into())
        }
        Err(error) => Err(format!("can't run valgrind: {error}").into()),
    }
}

/// Serves this many calls under callgrind. Returns how many instructions the whole process took.
async fn count(
    tokend: &Path,
    installation: &Installation,
    shape: Shape,
    calls: u64,
    file: &Path,
) -> Result<u64, BoxError> {
    let wrapper = [
        "valgrind".to_owned(),
        "--quiet".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", file.display()),
    ];
    let name = format!("callgrind-{calls}");
    let server = installation.serve_under(&wrapper, tokend, &name, None)?;
    let questions = installation.questions(TOKENS);
    let target = Target::new(
        (server.address(), server.pid()),
        None,
        VERIFY,
        installation.key(),
        &questions.messages,
        Answers::Allow(questions.names),
    )?;
    driver::call(&Arc::new(target), shape, calls).await?;
    server.stop()?;
    total(&fs::read_to_string(file)?).ok_or_else(|| format!("found no total in {}", file.display()).into())
}

/// Returns the total of a callgrind file.
fn total(file: &str) -> Option<u64> {
    let line = file.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_on_a_line_of_its_own() {
        let file = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1) main\n3 totals: 7\ntotals: 345\n";
        assert_eq!(total(file), Some(345));
        assert_eq!(total("events: Ir\n"), None);
    }
}
