//! The runtime on which the database is used, on a thread of its own.
//!
//! The servers' runtimes come and go, one for each core. A connection belongs to the runtime that opened it, and
//! awaiting it from another runtime can hang. So all database work is spawned on this runtime, and callers await its
//! handle. One thread is enough for each work pool: it waits for the database and checks MACs (microseconds). SQLite's
//! own work runs on threads of the driver.
//!
//! Stopping happens in order, whether it was requested or the runtime is dropped: close the connection pool, which
//! waits for every transaction and statement in progress, then stop the runtime and the thread. Work that still waits
//! for a connection fails.

use std::{io, pin::Pin, sync::Mutex, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;

/// How long stopping may take. Work that is still running after that is aborted.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

type LastWork = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct StoreRuntime {
    handle: Handle,
    /// Receives the last work to run before the thread stops. Dropped unused, it stops the thread at once.
    stop: Mutex<Option<oneshot::Sender<LastWork>>>,
    /// Closed when the runtime has stopped.
    stopped: watch::Receiver<()>,
}

impl StoreRuntime {
    /// Starts a thread with that name.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stop_requested) = oneshot::channel::<LastWork>();
        let (running, stopped) = watch::channel(());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Ok(last_work) = stop_requested.await
                    && tokio::time::timeout(STOP_TIMEOUT, last_work).await.is_err()
                {
                    tracing::warn!(
                        "database work was still running {STOP_TIMEOUT:?} after the store was closed, and was aborted"
                    );
                }
            });
            drop(runtime);
            drop(running);
        })?;
        Ok(Self {
            handle,
            stop: Mutex::new(Some(stop)),
            stopped,
        })
    }

    /// Runs `work` on this runtime; it goes on even if the handle is dropped. After the runtime has stopped, the handle
    /// returns an error that says that the task was cancelled.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work.in_current_span())
    }

    /// Runs `work` as [`spawn`](Self::spawn) does, outside of the current span: it outlives the call that starts it.
    pub(crate) fn spawn_apart<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Starts stopping: runs `last_work` first. Only the first call has an effect.
    pub(crate) fn stop(&self, last_work: impl Future<Output = ()> + Send + 'static) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(stop) = stop {
            // An error means that the thread has stopped already.
            let _ = stop.send(Box::pin(last_work));
        }
    }

    /// Waits until the runtime has stopped.
    pub(crate) async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }
}
