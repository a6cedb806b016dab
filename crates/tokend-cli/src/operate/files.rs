//! How many files this process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs beside its connections: databases, the ops port, the log.
const OTHERS: u64 = 256;

/// Raises the limit as far as it may be raised, and says so if that is not far enough for `max_connections`. Most systems start a
/// process with 1,024, for the sake of programs that use `select`.
pub(super) fn allow_connections(max_connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let (Some(allowed), needed) = (if raised.is_ok() { maximum } else { current }, max_connections as u64 + OTHERS) else { return };
    if allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "this process may have fewer files open than max_connections needs; raise the limit (ulimit -n)"
        );
    }
}
