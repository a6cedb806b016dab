//! What the layers know, and note, of the connection that a request came on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::strangers::Stranger;

/// The connection that a request came on: an extension of every request. Clones are the same connection.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicUsize,
    stranger: Mutex<Option<Stranger>>,
}

/// One of the requests that a connection may have in flight, until dropped.
#[derive(Debug)]
pub struct InFlight(Connection);

impl Connection {
    pub(super) fn of(stranger: Stranger) -> Self {
        Self(Arc::new(Shared { in_flight: AtomicUsize::new(0), stranger: Mutex::new(Some(stranger)) }))
    }

    /// Notes that somebody has authenticated on it: from now on it is no stranger's.
    pub fn is_known(&self) {
        // Only this connection's own requests meet at this lock, and they share a thread.
        self.0.stranger.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Counts one more request in flight, if there are fewer than `most`.
    #[must_use]
    pub fn enter(&self, most: usize) -> Option<InFlight> {
        if self.0.in_flight.fetch_add(1, Ordering::Relaxed) >= most {
            self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(InFlight(self.clone()))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
