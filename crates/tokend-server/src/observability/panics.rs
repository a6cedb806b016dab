//! A panic is logged by its place and the request's id. Its payload is never logged, because it may quote what the code
//! was handling, for instance a secret.

use std::{
    cell::Cell,
    io::{self, Write},
    panic, thread,
};

use super::request_id::RequestId;

thread_local! {
    /// The id that the last panic on this thread was logged under.
    static LOGGED_UNDER: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// Reports every panic of this process by its place and the request's id, and nothing else: in the log if there is one,
/// otherwise on stderr.
pub fn report_without_payload() {
    panic::set_hook(Box::new(|panic| {
        let request_id = RequestId::current();
        LOGGED_UNDER.set(Some(request_id));
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            let current = thread::current();
            let thread = current.name();
            tracing::error!(%request_id, location, thread, "a panic; its message is not logged, it may hold secrets");
        } else {
            // Not `eprintln!`, which panics itself if stderr can't be written to.
            let _ = writeln!(
                io::stderr(),
                "error: tokend has a defect at {location}; please report it"
            );
        }
    }));
}

/// Returns the id that the panic which ended the current request is logged under. A panic on another thread was logged
/// under another id, so it is logged again.
pub(crate) fn logged_under() -> RequestId {
    let request_id = RequestId::current();
    if LOGGED_UNDER.take() != Some(request_id) {
        tracing::error!(%request_id, "a panic on another thread ended this request");
    }
    request_id
}
