//! The store itself: opening, closing, the hop onto its runtime, and database time.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, QueryResult,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{clock::Clock, keyring::KeyRing, time::Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    database::{self, Purpose},
    entity::feed,
    error::StoreError,
    home::Home,
    open_error::OpenError,
    settings::Settings,
    write::WriteTx,
};

/// How long a start waits for the pool's first connection.
const FIRST_CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// The pause between tries.
const FIRST_CONNECTION_PAUSE: Duration = Duration::from_millis(50);

/// The column that [`Shared::select_now`] adds.
const NOW: &str = "now";

/// Everything that tokend keeps. Cheap to clone: all clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    home: Home,
}

/// What the work on the store's runtime shares. Holds no [`Home`], so that work under way does not keep the runtime from ending.
pub(crate) struct Shared {
    pub(crate) connection: DatabaseConnection,
    pub(crate) ring: Arc<KeyRing>,
    /// The database, for people: a path, or server and name. No password.
    pub(crate) database: String,
    settings: Settings,
    clock: Clock,
    /// SQLite: the highest time known to be stored, in microseconds.
    time_floor: AtomicI64,
    /// Writes take turns: one at a time on SQLite, where they could not run side by side and would keep connections from reads by
    /// waiting in the driver; on PostgreSQL so many that a connection is left for reads.
    turns: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("other writes did not end in time")]
struct NoTurn;

impl Store {
    /// Opens an initialized database, after bringing its schema up to date (unless [`Settings::migrate`] is off).
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open(settings: &Settings, ring: Arc<KeyRing>, clock: Clock) -> Result<Self, OpenError> {
        let store = Self::connect(settings, ring, clock, Purpose::Serve).await?;
        match store.run(crate::installation::check).await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// Opens a database that may be empty or missing, in order to [`initialize`](Self::initialize) it: makes the file (mode 0600)
    /// and the schema, and asks neither for an installation nor whose key ring it is.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn create(settings: &Settings, ring: Arc<KeyRing>, clock: Clock) -> Result<Self, OpenError> {
        Self::connect(settings, ring, clock, Purpose::Initialize).await
    }

    async fn connect(settings: &Settings, ring: Arc<KeyRing>, clock: Clock, purpose: Purpose) -> Result<Self, OpenError> {
        let home = Home::start().map_err(OpenError::NoThread)?;
        let wanted = settings.clone();
        let opened = home.spawn(async move { database::open(&wanted, purpose).await }).await;
        let database::Opened { connection, name } = match opened {
            Ok(opened) => opened?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => return Err(StoreError::unavailable(Closed).into()),
            },
        };
        if let Err(error) = home.spawn(first_connection(connection.clone())).await {
            return Err(StoreError::unavailable(error).into());
        }
        let turns = match connection.get_database_backend() {
            DbBackend::Sqlite => 1,
            _ => database::connections(settings) - 1,
        };
        let shared = Shared {
            connection,
            ring,
            database: name,
            settings: settings.clone(),
            clock,
            time_floor: AtomicI64::new(0),
            turns: Arc::new(Semaphore::new(turns as usize)),
        };
        Ok(Self { inner: Arc::new(Inner { shared: Arc::new(shared), home }) })
    }

    /// Closes the store for all its clones: waits for the work under way, closes the connections, and ends the store's runtime.
    /// Dropping the last clone does the same without waiting for it.
    pub async fn close(self) {
        self.inner.end();
        self.inner.home.ended().await;
    }

    /// Database time: PostgreSQL's clock; on SQLite the machine's, but never below the last time stored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.run(|shared| async move { shared.now(&shared.connection).await }).await
    }

    /// SQLite: makes sure that time never falls below `floor` again, not even after a restart with the clock set back. To be called
    /// before an answer says EXPIRED, with the expiry that has come: one write for each expiry, none when it is called again. On
    /// PostgreSQL, whose clock is one for all, it does nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; then the answer must not be given.
    pub async fn raise_time_floor(&self, floor: Timestamp) -> Result<(), StoreError> {
        let shared = &self.inner.shared;
        if !shared.is_sqlite() || shared.time_floor.load(Ordering::Acquire) >= floor.unix_micros() {
            return Ok(());
        }
        self.write(move |tx: &WriteTx| {
            Box::pin(async move {
                tx.raise_time_floor(floor);
                Ok(())
            })
        })
        .await
    }

    /// Runs `work` on the store's runtime, to its end even if the caller is dropped.
    pub(crate) async fn run<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self.inner.home.spawn(work(Arc::clone(&self.inner.shared))).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(StoreError::unavailable(Closed).into()),
            },
        }
    }
}

/// Waits until the pool has its first connection: a start may take its time where a request, which is better told to try again, may
/// not. If there is none in the end, the first statement says why.
async fn first_connection(connection: DatabaseConnection) {
    let connected = async {
        while connection.ping().await.is_err() {
            tokio::time::sleep(FIRST_CONNECTION_PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_CONNECTION_WAIT, connected).await;
}

impl Inner {
    fn end(&self) {
        let connection = self.shared.connection.clone();
        self.home.end(async move {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "closing the connections to the database");
            }
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.shared.database)
    }
}

impl Shared {
    pub(crate) fn is_sqlite(&self) -> bool {
        self.connection.get_database_backend() == DbBackend::Sqlite
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Waits for the turn to write.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        match tokio::time::timeout(self.settings.write_wait, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(StoreError::unavailable(Closed)),
            Err(_) => Err(StoreError::unavailable(NoTurn)),
        }
    }

    /// Reads database time in a statement of its own.
    pub(crate) async fn now(&self, connection: &impl ConnectionTrait) -> Result<Timestamp, StoreError> {
        let mut query = Query::select();
        self.select_now(&mut query);
        let row = connection.query_one(&query).await?;
        self.read_now(&row.ok_or_else(|| StoreError::corrupt("feed", "1".to_owned(), "time could not be read".to_owned()))?)
    }

    /// Makes a statement return, with whatever else it does, what [`Self::read_now`] needs: PostgreSQL's clock (not the start of the
    /// transaction), or SQLite's stored floor.
    pub(crate) fn select_now(&self, query: &mut SelectStatement) {
        if self.is_sqlite() {
            let mut floor = Query::select();
            floor.expr(ExprTrait::max(Expr::col(feed::Column::TimeFloor))).from(feed::Entity);
            query.expr_as(Expr::cust_with_exprs("coalesce(?, 0)", [Expr::SubQuery(None, Box::new(floor.into()))]), NOW);
        } else {
            query.expr_as(Expr::cust("(extract(epoch from clock_timestamp()) * 1000000)::bigint"), NOW);
        }
    }

    /// Database time out of a row of a statement that [`Self::select_now`] was applied to.
    pub(crate) fn read_now(&self, row: &QueryResult) -> Result<Timestamp, StoreError> {
        let micros: i64 = row.try_get("", NOW)?;
        let time = Timestamp::from_unix_micros(micros)
            .map_err(|error| StoreError::corrupt("feed", "1".to_owned(), format!("column time_floor {error}")))?;
        if self.is_sqlite() {
            self.note_stored_time(time);
            Ok(self.clock.wall_time().max(self.time_floor()))
        } else {
            Ok(self.clock.database_time(time))
        }
    }

    /// Remembers that `time` is stored.
    pub(crate) fn note_stored_time(&self, time: Timestamp) {
        self.time_floor.fetch_max(time.unix_micros(), Ordering::AcqRel);
    }

    fn time_floor(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.time_floor.load(Ordering::Acquire)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
