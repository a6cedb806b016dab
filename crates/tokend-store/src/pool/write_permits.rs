//! The order in which writes run.
//!
//! SQLite takes one write at a time, so writes of all work pools share one permit. Each pool sends at most one write to
//! wait for it. So at most one ordinary write waits in front of a reserved one, however many more there are.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    database,
    error::{Closed, StoreError},
    settings::StoreSettings,
};

/// The permits to write of one work pool.
#[derive(Clone)]
pub(crate) struct WritePermits {
    /// This pool's permits. PostgreSQL: one less than there are connections, so that one is left for reads. SQLite:
    /// one.
    of_pool: Arc<Semaphore>,
    /// SQLite: the one permit that all pools share.
    of_file: Option<Arc<Semaphore>>,
}

/// The permit to write. Dropping it lets the next write run.
pub(crate) struct WritePermit {
    _of_pool: OwnedSemaphorePermit,
    _of_file: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, thiserror::Error)]
#[error("other writes did not end in time")]
struct NoPermit;

impl WritePermits {
    /// Creates the permits of a pool with these settings. On SQLite `writer` is the permit that all pools share.
    pub(crate) fn new(settings: &StoreSettings, writer: Option<Arc<Semaphore>>) -> Self {
        let of_pool = if writer.is_some() {
            1
        } else {
            database::connections(settings) - 1
        };
        Self {
            of_pool: Arc::new(Semaphore::new(of_pool as usize)),
            of_file: writer,
        }
    }

    /// Waits for the permit to write, at most `wait`.
    pub(crate) async fn acquire(&self, wait: Duration) -> Result<WritePermit, StoreError> {
        let permit = async {
            let of_pool = Arc::clone(&self.of_pool).acquire_owned().await?;
            let of_file = match &self.of_file {
                Some(of_file) => Some(Arc::clone(of_file).acquire_owned().await?),
                None => None,
            };
            Ok::<_, AcquireError>(WritePermit {
                _of_pool: of_pool,
                _of_file: of_file,
            })
        };
        match timeout(wait, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(StoreError::unavailable(Closed)),
            Err(_) => Err(StoreError::unavailable(NoPermit)),
        }
    }
}
