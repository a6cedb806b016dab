//! Runs the checker on every case, or on those whose name contains the first argument, and prints a row for each: `ok`
//! or `WRONG`, the name, the outcome, the number of states, and seconds. `--traces` prints the steps of
//! counter-examples, too.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what it prints")]

use std::process::ExitCode;
use std::time::Instant;

use tokend_model::{Case, Limits, Outcome, Rule, check, large, repeats_that_only_read, small, without};

/// More steps than any case takes.
const STEPS: usize = 1_000_000_000;

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement of this run, on which nothing rests"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let traces = arguments.iter().any(|argument| argument == "--traces");
    let part = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .map_or("", String::as_str);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);

    let mut cases = small();
    cases.extend(Rule::ALL.iter().map(|&rule| without(rule)));
    cases.extend(repeats_that_only_read());
    cases.extend(large());
    cases.retain(|case| name(case).contains(part));
    if cases.is_empty() {
        eprintln!("no case has a name that contains '{part}'");
        return ExitCode::FAILURE;
    }

    let mut all_right = true;
    for case in &cases {
        let started = Instant::now();
        let report = check(case, Limits { threads, steps: STEPS });
        let right = match report.outcome {
            Outcome::Holds => case.holds,
            Outcome::CounterExample(_) => !case.holds,
            Outcome::HoldsWithout(_) | Outcome::NotFinished => false,
        };
        all_right &= right;
        let verdict = if right { "ok" } else { "WRONG" };
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{verdict}\t{}\t{}\t{}\t{seconds:.1}",
            name(case),
            report.outcome,
            report.states
        );
        if let Outcome::CounterExample(steps) = &report.outcome
            && (traces || !right)
        {
            for (number, step) in (1..).zip(steps) {
                println!("\t{number:>2} {step}");
            }
        }
    }
    if all_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn name(case: &Case) -> String {
    match case.without {
        None => case.name.to_owned(),
        Some(rule) => format!("{}, without {rule:?} ({})", case.name, rule.numbers()),
    }
}
