//! The other end of a connection, and the connection itself, as services see them.

use std::any::Any;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

use super::PeerAddress;
use super::unauthenticated::UnauthenticatedPlace;
use crate::tls::ClientCertificate;

/// The other end of a connection. Clones are the same peer.
#[derive(Debug, Clone)]
pub struct Peer {
    pub(crate) address: PeerAddress,
    pub(crate) connection: Connection,
    /// The client certificate, if the peer presented one.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
}

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

impl Peer {
    /// Adds the peer to a request's extensions.
    pub(crate) fn add_to(&self, extensions: &mut Extensions) {
        extensions.insert(self.address);
        extensions.insert(self.connection.clone());
        if let Some(certificate) = &self.certificate {
            extensions.insert(Arc::clone(certificate));
        }
    }

    /// Completes when the CA of the peer's certificate has been replaced.
    pub(super) async fn distrusted(&self) {
        match &self.certificate {
            Some(certificate) => certificate.distrusted().await,
            None => pending().await,
        }
    }
}

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
