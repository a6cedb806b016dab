//! Shows the promise on real servers: **when the answer to a revocation leaves, the token is dead, everywhere.**
//!
//! ```text
//! clients --> endpoints: three servers, a client that keeps answers, SDKs     faults: signals, crashes,
//!    |             |                                                             cut and held connections
//!    |             +--> proxy --> PostgreSQL
//!    +--> history --> checker --> violations
//! ```
//!
//! Clients create, verify, revoke, rotate, suspend and so on, at any server, and record when they asked and when they
//! were answered ([`history`]). Meanwhile rounds of [`faults`] hit the servers and the database. The [`checker`] knows
//! nothing of the servers: it compares answers.
//!
//! A short run is a part of all tests. A long one, whose results docs/revocation-harness.md keeps:
//!
//! ```text
//! TOKEND_HARNESS_ROUNDS=500 TOKEND_HARNESS_OPERATIONS=1000000 TOKEND_HARNESS_RATE=400 \
//!     cargo test --workspace --test harness -- --exact run::postgres::the_promise_holds --nocapture
//! ```

mod broken_rules;
mod call;
mod checker;
mod clock;
mod cluster;
mod endpoint;
mod faults;
mod history;
mod lab;
mod measures;
mod program;
mod provocation;
mod proxy;
mod random;
mod report;
mod run;
mod settings;
mod workload;
mod world;

use std::time::Duration;

use tokend_tests::{Installation, Storage};

/// Longer than any run of these settings should take.
fn run_test<F: Future<Output = ()>>(storage: Storage, test: impl FnOnce(Installation) -> F) {
    // The cluster on PostgreSQL has a server of its own, because it crashes it.
    let _ = storage;
    let limit = settings::Settings::short(run::ROUNDS, run::SECONDS).limit() + Duration::from_secs(60);
    tokend_tests::run_within(limit, env!("CARGO_BIN_EXE_tokend-under-test"), Storage::Sqlite, test);
}
