use std::time::Duration;

use crate::{Installation, Storage};

/// The time limit of a test, which no test should reach even on a busy machine.
const TEST_LIMIT: Duration = Duration::from_secs(180);

/// Runs a test on a new installation of `program`. If the test needs PostgreSQL and there is none, prints that and
/// returns.
///
/// # Panics
/// If the test does.
pub fn run<F: Future<Output = ()>>(program: &str, storage: Storage, test: impl FnOnce(Installation) -> F) {
    run_within(TEST_LIMIT, program, storage, test);
}

/// Like [`run`], with another time limit.
///
/// # Panics
/// If the test does.
pub fn run_within<F: Future<Output = ()>>(
    limit: Duration,
    program: &str,
    storage: Storage,
    test: impl FnOnce(Installation) -> F,
) {
    let Some(installation) = Installation::new(program, storage) else {
        return;
    };
    tokend_test_support::run_within(limit, test(installation));
}

/// Defines the function that runs the tests of a binary, each on an installation of `tokend-under-test`. The binary
/// knows where Cargo put that program; this library does not.
#[macro_export]
macro_rules! define_run_test {
    () => {
        fn run_test<F: Future<Output = ()>>(storage: $crate::Storage, test: impl FnOnce($crate::Installation) -> F) {
            $crate::run(env!("CARGO_BIN_EXE_tokend-under-test"), storage, test);
        }
    };
}
