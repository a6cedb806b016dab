//! The ways into the database, each with a thread, connections and room of its own, so that a crowd on one is no hindrance on
//! another: the ordinary one, one that is reserved for what must not wait, such as revocations, and a narrow one for lists, which may
//! read much.
//!
//! On SQLite all writes meet in the end, since it takes one at a time. There they take turns: of the ordinary ones at most one stands
//! in front of a reserved one, however many there are behind it.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use tokend_core::clock::Clock;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle},
    time::timeout,
};

use crate::{
    database::{self, Target},
    error::StoreError,
    home::Home,
    pool::Pool,
    settings::Settings,
    store::Shared,
};

/// One way into the database.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    home: Home,
    /// What waits here or is under way. Callers that gave up leave their work behind, so that this is not bounded by their number.
    room: Arc<Semaphore>,
}

/// In which order writes come.
#[derive(Clone)]
pub(crate) struct Turns {
    /// Of this lane: on PostgreSQL so many that a connection is left for reads, on SQLite one.
    of_lane: Arc<Semaphore>,
    /// SQLite: of all lanes.
    of_all: Option<Arc<Semaphore>>,
}

/// The turn to write, over when dropped.
pub(crate) struct Turn {
    _of_lane: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub(crate) struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("other writes did not end in time")]
struct NoTurn;

impl Lane {
    /// A lane on `home`, with room for so many calls.
    pub(crate) fn new(home: Home, shared: Shared, room: u32) -> Self {
        Self { shared: Arc::new(shared), home, room: Arc::new(Semaphore::new(room as usize)) }
    }

    /// Runs `work` here, to its end even if the caller is dropped.
    pub(crate) async fn run<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        result_of(self.start(work)?.await)
    }

    /// Runs a read here. It ends with the statement that is under way when the caller is dropped.
    pub(crate) async fn read<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let mut work = AbortedWhenDropped(self.start(work)?);
        result_of((&mut work.0).await)
    }

    fn start<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<JoinHandle<Result<T, E>>, StoreError>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| StoreError::Overloaded)?;
        let work = work(Arc::clone(&self.shared));
        Ok(self.home.spawn(async move {
            let done = work.await;
            drop(place);
            done
        }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Begins the end: the connections are closed, which waits for the work under way, and then the thread ends.
    pub(crate) fn end(&self) {
        let connection = self.shared.connection.clone();
        self.home.end(async move { connection.close().await });
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        self.home.ended().await;
    }
}

/// Returns the result of work that ran on a lane's runtime. Resumes a panic of the work.
pub(crate) fn result_of<T, E: From<StoreError>>(done: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    match done {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::unavailable(Closed).into()),
        },
    }
}

/// Work that nobody else waits for.
struct AbortedWhenDropped<T>(JoinHandle<T>);

impl<T> Drop for AbortedWhenDropped<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Turns {
    /// Of a lane with these settings. On SQLite `writer` is the one permit of all lanes.
    pub(crate) fn new(settings: &Settings, writer: Option<Arc<Semaphore>>) -> Self {
        let of_lane = if writer.is_some() { 1 } else { database::connections(settings) - 1 };
        Self { of_lane: Arc::new(Semaphore::new(of_lane as usize)), of_all: writer }
    }

    /// Waits for the turn to write, at most `patience`.
    pub(crate) async fn take(&self, patience: Duration) -> Result<Turn, StoreError> {
        let turn = async {
            let of_lane = Arc::clone(&self.of_lane).acquire_owned().await?;
            let of_all = match &self.of_all {
                Some(of_all) => Some(Arc::clone(of_all).acquire_owned().await?),
                None => None,
            };
            Ok::<_, tokio::sync::AcquireError>(Turn { _of_lane: of_lane, _of_all: of_all })
        };
        match timeout(patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(StoreError::unavailable(Closed)),
            Err(_) => Err(StoreError::unavailable(NoTurn)),
        }
    }
}

/// Opens a lane's connections, on the runtime to which they belong from now on. Waits until there is one: a start may take its time
/// where a request, which is better told to try again, may not. If there is none in the end, the first statement says why.
pub(crate) async fn connect(home: &Home, target: &Arc<Target>, settings: &Settings, clock: &Clock) -> Result<Pool, StoreError> {
    let (target, settings, clock) = (Arc::clone(target), settings.clone(), clock.clone());
    let connected = home.spawn(async move {
        let pool = Pool::open(target, &settings, clock);
        pool.warm_up(settings.connect_timeout).await;
        pool
    });
    connected.await.map_err(StoreError::unavailable)
}
