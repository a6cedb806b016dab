//! The connection that a request came on, as the layers see it.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::unauthenticated::UnauthenticatedPlace;

/// The connection that a request came on: an extension of every request. Clones are the same connection.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicUsize,
    standing: Mutex<Standing>,
}

/// Who has authenticated on a connection.
#[derive(Debug, Default)]
enum Standing {
    /// Nobody, and the connection is not counted: it was created by a test.
    #[default]
    Uncounted,
    /// Nobody yet.
    Unauthenticated { _place: UnauthenticatedPlace },
    /// A caller, for which the connection holds this place among the caller's connections.
    Known { _place: Box<dyn Any + Send> },
}

/// A request in flight, counted until it is dropped.
#[derive(Debug)]
pub struct InFlight(Connection);

impl Connection {
    pub(super) fn of(place: UnauthenticatedPlace) -> Self {
        Self(Arc::new(Shared {
            in_flight: AtomicUsize::new(0),
            standing: Mutex::new(Standing::Unauthenticated { _place: place }),
        }))
    }

    /// Returns whether a caller has authenticated on it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        matches!(*self.standing(), Standing::Known { .. })
    }

    /// Marks it as a caller's, so that it no longer counts as unauthenticated. Keeps `place`, which counts it among the
    /// caller's connections, for as long as it is open.
    pub fn becomes_known(&self, place: impl Any + Send) {
        *self.standing() = Standing::Known {
            _place: Box::new(place),
        };
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Only this connection's own requests meet at this lock, and they share a thread.
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more request in flight, or returns `None` if there are `most` already.
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
