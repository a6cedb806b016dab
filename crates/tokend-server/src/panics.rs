//! What a panic tells: where it happened, under a request id. Never its payload, whose words may quote what the code was handling,
//! a secret for instance.

use std::{
    cell::Cell,
    io::{self, Write},
    panic, thread,
};

use uuid::Uuid;

thread_local! {
    /// What the last panic on this thread was logged under.
    static LOGGED_UNDER: Cell<Option<Uuid>> = const { Cell::new(None) };
}

/// Has every panic of this process reported by its place and a request id, and nothing else. With a log, there; without one, on
/// stderr.
pub fn report_without_payload() {
    panic::set_hook(Box::new(|panic| {
        let request_id = Uuid::now_v7();
        LOGGED_UNDER.set(Some(request_id));
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            let current = thread::current();
            tracing::error!(%request_id, location, thread = current.name(), "a panic; its words may hold secrets, and are not told");
        } else {
            // Not `eprintln!`, which panics itself if stderr can't be written to.
            let _ = writeln!(io::stderr(), "error: tokend has a defect at {location}; please report it");
        }
    }));
}

/// What the panic that was just caught on this thread was logged under. One that came over from another thread is logged again, with
/// an id of its own.
pub(crate) fn request_id() -> Uuid {
    LOGGED_UNDER.take().unwrap_or_else(|| {
        let request_id = Uuid::now_v7();
        tracing::error!(%request_id, "a panic on another thread ended this request");
        request_id
    })
}
