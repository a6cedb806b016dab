//! `tokend` with a clock that tests can move.

use std::process::ExitCode;

fn main() -> ExitCode {
    tokend_cli::run(tokend_tests::clock::from_environment())
}
