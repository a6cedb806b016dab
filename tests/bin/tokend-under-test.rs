//! `tokend` with a clock that tests can move, and rules that tests can leave out.

use std::process::ExitCode;

use tokend_tests::{broken_rules, clock};

fn main() -> ExitCode {
    if let Some(ended) = broken_rules::Program::Tokend.leave_out_rules() {
        return ended;
    }
    tokend_cli::run(clock::from_environment())
}
