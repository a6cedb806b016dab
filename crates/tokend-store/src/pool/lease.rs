//! One connection of a pool while it is in use.

use std::time::Duration;

use sea_orm::DbErr;

use super::connections::{Connections, Pooled};
use crate::{
    database::Connection,
    error::driver_error::{connection_error, is_not_primary, is_of_server},
};

/// A connection that was unused for longer than this is checked before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// A connection older than this is closed when it is returned while another one is unused, so that nobody has to wait
/// for its replacement.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);

/// A connection in use. Dropping the lease closes the connection; [`give_back`](Self::give_back) keeps it.
pub(super) struct Lease {
    pooled: Option<Pooled>,
    connections: Connections,
}

impl Lease {
    /// Waits for a connection that works.
    pub(super) async fn next(connections: &Connections) -> Result<Self, DbErr> {
        // The call still waits while a connection is checked.
        let _waiting = connections.waiting();
        loop {
            let mut lease = Self {
                pooled: Some(connections.take().await?),
                connections: connections.clone(),
            };
            if lease.is_usable().await {
                return Ok(lease);
            }
            lease.close().await;
        }
    }

    /// Returns whether the connection belongs to the current generation and works.
    async fn is_usable(&mut self) -> bool {
        let target = self.connections.target();
        let Some(pooled) = &mut self.pooled else { return false };
        if pooled.generation != target.generation() {
            return false;
        }
        if self.connections.now().saturating_since(pooled.used) <= TRUSTED_FOR {
            return true;
        }
        match pooled.connection.check().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a connection to the database is replaced");
                if is_not_primary(&error) {
                    target.end_generation(pooled.generation);
                }
                false
            }
        }
    }

    /// Runs `work` with the connection.
    pub(super) async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let Some(pooled) = &mut self.pooled else {
            return Err(connection_error(sqlx::Error::PoolClosed));
        };
        let done = work(&mut pooled.connection).await;
        if done.as_ref().is_err_and(is_of_server) {
            self.connections.target().end_generation(pooled.generation);
        }
        done
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.connections.target().is_sqlite()
    }

    /// Returns the connection to the pool. The connection must work and be outside of a transaction.
    pub(super) async fn give_back(mut self) {
        if let Some(pooled) = self.pooled.take() {
            let _ended = Ended(&self.connections);
            let used = self.connections.now();
            let is_old = used.saturating_since(pooled.opened) > LONGEST_LIFE && self.connections.has_unused();
            let closed = if is_old {
                Err(pooled)
            } else {
                self.connections.add(Pooled { used, ..pooled })
            };
            if let Err(pooled) = closed {
                pooled.connection.close().await;
            }
        }
    }

    /// Closes the connection, and waits until it is closed: from then on nothing that ran on it holds a lock.
    pub(super) async fn close(mut self) {
        if let Some(pooled) = self.pooled.take() {
            let _ended = Ended(&self.connections);
            pooled.connection.close().await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            drop(pooled);
            drop(Ended(&self.connections));
        }
    }
}

/// Reports the end of a lease when dropped.
struct Ended<'a>(&'a Connections);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lease_ended();
    }
}
