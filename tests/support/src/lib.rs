//! Shared support for the tests of several crates: PostgreSQL servers, the choice of a database, and waiting for a
//! condition.
//!
//! This crate uses no other crate of tokend, so that the tests of any of them can use it.

pub mod postgres;

mod databases;
mod time_limit;

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use tokio::time::{sleep, timeout};

pub use self::time_limit::run_within;

/// The kind of database that a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A file in a temporary directory.
    Sqlite,
    /// A separate database on the server of [`postgres`].
    Postgres,
}

/// How long a condition may take to become true.
const CONDITION_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` returns something, and returns that.
///
/// # Panics
/// If `condition` returns nothing for half a minute.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let holds = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            sleep(POLL).await;
        }
    };
    timeout(CONDITION_LIMIT, holds)
        .await
        .unwrap_or_else(|_| panic!("timed out waiting until {what}"))
}

/// Prints that the running test did not run, and why.
///
/// # Panics
/// If stderr can't be written to.
pub fn did_not_run(why: &str) {
    let test = name_of_test();
    // Not eprintln!, whose output the test runner hides when the test passes.
    writeln!(io::stderr(), "DID NOT RUN: {test}: {why}").expect("stderr can be written to");
}

fn name_of_test() -> String {
    thread::current().name().unwrap_or("a test").to_owned()
}
