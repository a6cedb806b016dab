use std::{
    io::{self, Write},
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::time::timeout;

use crate::name_of_test;

/// How much longer than its limit a test may block its thread, for example while it stops what it has started.
const GRACE: Duration = Duration::from_secs(60);

/// Runs a test to its end, on a runtime of its own. A test that blocks its thread past the limit ends the whole process,
/// because nothing else ends it: the run fails and names the test, instead of hanging.
///
/// # Panics
/// If the test does, or is not done within `limit`.
pub fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    let name = name_of_test();
    let (done, is_done) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_done.recv_timeout(limit + GRACE) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(
                io::stderr(),
                "BLOCKED: {name} blocks its thread after {limit:?}; giving up"
            );
            #[expect(clippy::disallowed_methods, reason = "a blocked thread can't be ended otherwise")]
            process::abort();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async { timeout(limit, test).await.expect("the test finishes in time") });
    drop(done);
}
