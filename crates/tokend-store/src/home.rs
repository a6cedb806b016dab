//! The runtime on which the database is spoken to, on a thread of its own.
//!
//! The servers' runtimes come and go, one for each core; a connection belongs to the runtime that opened it, and awaiting it from
//! another was seen to hang. So all work is spawned here, and callers await its handle. One thread is enough for a lane: it waits for the
//! database and checks MACs (microseconds); SQLite's own work happens on threads of the driver.
//!
//! The end comes in order, whether asked for or by dropping: close the pool, which waits for every transaction and statement under
//! way, then end the runtime and the thread. Work that still waits for a connection is told that there is none.

use std::{io, pin::Pin, sync::Mutex, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;

/// How long the end may take before what is left is cut off.
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

type Goodbye = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Home {
    handle: Handle,
    /// Takes what is to be done before the end; dropped unused, the end comes at once.
    end: Mutex<Option<oneshot::Sender<Goodbye>>>,
    /// Closed when the runtime has ended.
    ended: watch::Receiver<()>,
}

impl Home {
    /// Starts the thread, of that name.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, asked_to_end) = oneshot::channel::<Goodbye>();
        let (alive, ended) = watch::channel(());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Ok(goodbye) = asked_to_end.await
                    && tokio::time::timeout(LONGEST_GOODBYE, goodbye).await.is_err()
                {
                    tracing::warn!(
                        "database work was still under way {LONGEST_GOODBYE:?} after the end was asked for, and was cut off"
                    );
                }
            });
            drop(runtime);
            drop(alive);
        })?;
        Ok(Self { handle, end: Mutex::new(Some(end)), ended })
    }

    /// Runs `work` here; it goes on even if the handle is dropped. After the end the handle says that it was cancelled.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work.in_current_span())
    }

    /// Begins the end: `goodbye` first. Only the first call counts.
    pub(crate) fn end(&self, goodbye: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(end) = end {
            // An error means that the thread has ended already.
            let _ = end.send(Box::pin(goodbye));
        }
    }

    /// Waits until the runtime has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}
