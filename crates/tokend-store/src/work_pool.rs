//! A work pool: a runtime, its connections to the database, and a limit on the calls that run or wait in it.
//!
//! A store has three of them, so that many calls on one don't delay another: the ordinary pool, the reserved pool for
//! what must not wait (such as revocations), and a small pool for lists, which may read many rows. On SQLite the writes
//! of all pools share one permit ([`WritePermits`](crate::pool::WritePermits)).

use std::{panic::resume_unwind, sync::Arc};

use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    error::{Closed, StoreError},
    runtime::StoreRuntime,
    shared::Shared,
};

/// A runtime with its own connections to the database.
pub(crate) struct WorkPool {
    shared: Arc<Shared>,
    runtime: StoreRuntime,
    /// A permit for each call that waits or runs. A caller that gives up leaves its work behind, so the number of
    /// callers does not limit it.
    room: Arc<Semaphore>,
}

impl WorkPool {
    /// Creates a pool on `runtime` in which `max_calls` calls may wait or run.
    pub(crate) fn new(runtime: StoreRuntime, shared: Shared, max_calls: u32) -> Self {
        Self {
            shared: Arc::new(shared),
            runtime,
            room: Arc::new(Semaphore::new(max_calls as usize)),
        }
    }

    /// Runs `work` on this pool. The work runs to its end even if the caller is dropped.
    pub(crate) async fn run<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        join(&mut self.start(work)?).await
    }

    /// Runs a read on this pool. Dropping the caller ends the read after the current statement.
    pub(crate) async fn read<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        join(&mut AbortOnDrop(self.start(work)?).0).await
    }

    fn start<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<JoinHandle<Result<T, E>>, StoreError>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let permit = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|_| StoreError::Overloaded)?;
        let work = work(Arc::clone(&self.shared));
        Ok(self.runtime.spawn(async move {
            let done = work.await;
            drop(permit);
            done
        }))
    }

    /// Runs `work` on the pool's runtime to its end, without room and outside of the current span.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn_apart(work));
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Starts stopping: closes the connections, which waits for the work in progress, then stops the thread.
    pub(crate) fn stop(&self) {
        let connection = self.shared.connection.clone();
        self.runtime.stop(async move { connection.close().await });
    }

    /// Waits until the thread has stopped.
    pub(crate) async fn stopped(&self) {
        self.runtime.stopped().await;
    }
}

/// Returns the result of work that runs on a store's runtime. Resumes a panic of the work.
pub(crate) async fn join<T, E: From<StoreError>>(work: &mut JoinHandle<Result<T, E>>) -> Result<T, E> {
    match work.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::unavailable(Closed).into()),
        },
    }
}

/// Work that ends when its caller is dropped.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
