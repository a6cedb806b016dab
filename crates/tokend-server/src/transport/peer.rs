//! What the layers know, and note, of the connection that a request came on.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::strangers::Stranger;

/// The connection that a request came on: an extension of every request. Clones are the same connection.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicUsize,
    standing: Mutex<Standing>,
}

/// Whose connection it is.
#[derive(Debug, Default)]
enum Standing {
    /// Nobody's yet, and not counted: of a connection that was made for a test.
    #[default]
    Uncounted,
    /// Nobody's yet.
    Stranger { _place: Stranger },
    /// A caller's, which has this place among its connections.
    Known { _place: Box<dyn Any + Send> },
}

/// One of the requests that a connection may have in flight, until dropped.
#[derive(Debug)]
pub struct InFlight(Connection);

impl Connection {
    pub(super) fn of(stranger: Stranger) -> Self {
        Self(Arc::new(Shared { in_flight: AtomicUsize::new(0), standing: Mutex::new(Standing::Stranger { _place: stranger }) }))
    }

    /// Whether it is a caller's.
    #[must_use]
    pub fn is_known(&self) -> bool {
        matches!(*self.standing(), Standing::Known { .. })
    }

    /// Makes it the connection of a caller that has authenticated on it: from now on it is no stranger's. Keeps the caller's `place` for as
    /// long as it is open.
    pub fn becomes_known(&self, place: impl Any + Send) {
        *self.standing() = Standing::Known { _place: Box::new(place) };
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Only this connection's own requests meet at this lock, and they share a thread.
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
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
