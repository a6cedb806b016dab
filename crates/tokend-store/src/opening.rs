//! Opening a store. Each function opens it for another purpose and checks the database accordingly.

use std::sync::Arc;

use tokend_core::{keyring::RootKeys, time::Clock};
use tokio::sync::Semaphore;

use crate::{
    database::{self, Purpose, Target},
    error::{OpenError, StoreError},
    feed, installation,
    keys::current::CurrentKeys,
    pool::{ConnectionPool, WriteAheadLog, WritePermits},
    runtime::StoreRuntime,
    settings::StoreSettings,
    shared::Shared,
    store::{Pools, Store},
    work_pool::{self, WorkPool},
};

/// The number of calls that may run or wait in the pool for the feed.
const FEED_CALLS: u32 = 16;

impl Store {
    /// Opens an initialized database and migrates its schema (unless [`StoreSettings::migrate`] is off). `roots` must
    /// contain every key of the database that was ever active and is not retired.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open(settings: &StoreSettings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        Self::open_for(settings, roots, clock, Purpose::Change).await
    }

    /// Opens an initialized database as [`open`](Self::open) does, and locks a SQLite file against every other process
    /// that opens it with this function, until the store is closed. Use it to serve, or for changes that servers must
    /// not see half-done.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open_alone(settings: &StoreSettings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        Self::open_for(settings, roots, clock, Purpose::Serve).await
    }

    async fn open_for(
        settings: &StoreSettings,
        roots: Arc<RootKeys>,
        clock: Clock,
        purpose: Purpose,
    ) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, purpose).await?;
        // On the reserved pool, which waits longer for a connection: a start may take time.
        let checked = store.reserved().check().await;
        store.unless_refused(checked).await
    }

    /// Opens an initialized database as [`open`](Self::open) does, but accepts any roots;
    /// [`wrong_keys`](Self::wrong_keys) reports what is wrong with them. Use it to inspect a database, not to serve.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn inspect(settings: &StoreSettings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, Purpose::Change).await?;
        let checked = match store.reserved().run(installation::initialize::check).await {
            Err(OpenError::WrongKeyRing { .. }) => Ok(()),
            checked => checked,
        };
        store.unless_refused(checked).await
    }

    /// Opens a database that may be empty or missing, in order to [`initialize`](Self::initialize) it. Creates the file
    /// (mode 0600) and the schema, and checks neither whether the database is initialized nor the key ring.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn create(settings: &StoreSettings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        Self::connect(settings, roots, clock, Purpose::Initialize).await
    }

    /// Opens an initialized database with the current schema for reading. Nothing can be changed, including the schema.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open_to_read(settings: &StoreSettings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, Purpose::Read).await?;
        let checked = store.run(installation::initialize::check).await;
        store.unless_refused(checked).await
    }

    /// Opens an initialized database as [`open_alone`](Self::open_alone) does, in order to restore it: the database may
    /// be one on which no server may start.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open_to_restore(
        settings: &StoreSettings,
        roots: Arc<RootKeys>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, Purpose::Serve).await?;
        let checked = store.reserved().check_installation().await;
        store.unless_refused(checked).await
    }

    /// Logs a warning if the connection to the database, or to a connection pooler and from there, is not encrypted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn warn_if_unencrypted(&self) -> Result<(), StoreError> {
        self.run(|shared| async move {
            let (target, database) = (shared.connection.target(), shared.database.as_str());
            if target.is_sqlite() {
                return Ok(());
            }
            let is_encrypted = shared.is_encrypted().await?;
            if target.uses_pooler() {
                if target.uses_tcp() && !target.requires_tls() {
                    tracing::warn!(
                        database,
                        "the connection to the connection pooler may not be encrypted; add sslmode=verify-full to the \
                         database URL"
                    );
                }
                if !is_encrypted {
                    tracing::warn!(
                        database,
                        "the connections of the connection pooler to PostgreSQL are not encrypted; set \
                         server_tls_sslmode = verify-full in PgBouncer"
                    );
                }
            } else if !is_encrypted {
                tracing::warn!(
                    database,
                    "the connection to PostgreSQL is not encrypted; add sslmode=verify-full to the database URL"
                );
            }
            Ok(())
        })
        .await
    }

    /// Checks that no revoked token may work again in the database, as it may after an unfinished restore.
    ///
    /// # Errors
    /// [`OpenError::Untrusted`] if it may, [`OpenError::Store`] for a fault of the database.
    pub async fn check_feed(&self) -> Result<(), OpenError> {
        self.run(|shared| async move { feed::check::check(&shared).await })
            .await
    }

    /// Returns the store if it passed its checks, and closes it if not.
    async fn unless_refused(self, checked: Result<(), OpenError>) -> Result<Self, OpenError> {
        if let Err(error) = checked {
            self.close().await;
            return Err(error);
        }
        Ok(self)
    }

    async fn check(&self) -> Result<(), OpenError> {
        self.check_installation().await?;
        self.check_feed().await
    }

    async fn check_installation(&self) -> Result<(), OpenError> {
        self.run(installation::initialize::check).await?;
        Ok(installation::initialize::complete(self).await?)
    }

    async fn connect(
        settings: &StoreSettings,
        roots: Arc<RootKeys>,
        clock: Clock,
        purpose: Purpose,
    ) -> Result<Self, OpenError> {
        let runtime = StoreRuntime::start("tokend-store").map_err(OpenError::NoThread)?;
        let wanted = settings.clone();
        let mut opened = runtime.spawn(async move { database::open(&wanted, purpose).await });
        let target = Arc::new(work_pool::join(&mut opened).await?);
        let writer = target.is_sqlite().then(|| Arc::new(Semaphore::new(1)));
        let keys = CurrentKeys::new(roots).map_err(|problem| OpenError::WrongKeyRing {
            database: target.name(),
            problem,
        })?;
        let shared = Shared {
            connection: connect_pool(&runtime, &target, settings, &clock).await?,
            keys: Arc::new(keys),
            refused: Arc::default(),
            database: target.name(),
            settings: settings.clone(),
            clock,
            time_floor: Arc::default(),
            commit_observer: Arc::default(),
            write_permits: WritePermits::new(settings, writer.clone()),
            log: None,
        };
        let reserved_runtime = StoreRuntime::start("tokend-reserved").map_err(OpenError::NoThread)?;
        // Reserved calls wait longer for a connection, because they must not fail.
        let wanted = StoreSettings {
            max_connections: settings.reserved_connections,
            pool_wait: settings.write_wait,
            ..settings.clone()
        };
        let reserved = Shared {
            connection: connect_pool(&reserved_runtime, &target, &wanted, &shared.clock).await?,
            write_permits: WritePermits::new(&wanted, writer.clone()),
            ..shared.clone()
        };
        let lists_runtime = StoreRuntime::start("tokend-lists").map_err(OpenError::NoThread)?;
        // Many lists share few connections and alternate, statement by statement.
        let wanted = StoreSettings {
            max_connections: settings.list_connections,
            pool_wait: settings.write_wait,
            ..settings.clone()
        };
        let log = target.write_ahead_log();
        let lists = Shared {
            connection: connect_pool(&lists_runtime, &target, &wanted, &shared.clock).await?,
            write_permits: WritePermits::new(&wanted, writer.clone()),
            log: log.map(|(path, busy_timeout)| Arc::new(WriteAheadLog::new(path, busy_timeout))),
            ..shared.clone()
        };
        let feed_runtime = StoreRuntime::start("tokend-feed").map_err(OpenError::NoThread)?;
        let wanted = StoreSettings {
            max_connections: 1,
            ..settings.clone()
        };
        let feed = Shared {
            connection: connect_pool(&feed_runtime, &target, &wanted, &shared.clock).await?,
            write_permits: WritePermits::new(&wanted, writer),
            ..shared.clone()
        };
        Ok(Self::new(Pools {
            ordinary: WorkPool::new(runtime, shared, settings.max_waiting),
            reserved: WorkPool::new(reserved_runtime, reserved, settings.max_waiting),
            lists: WorkPool::new(lists_runtime, lists, settings.max_lists),
            feed: WorkPool::new(feed_runtime, feed, FEED_CALLS),
        }))
    }
}

/// Opens a connection pool on the runtime to which its connections will belong. Waits for the first connection, at most
/// `connect_timeout`: opening a store may take time, a request may not. Without a connection it succeeds, too, and the
/// first statement returns the error.
async fn connect_pool(
    runtime: &StoreRuntime,
    target: &Arc<Target>,
    settings: &StoreSettings,
    clock: &Clock,
) -> Result<ConnectionPool, StoreError> {
    let (target, settings, clock) = (Arc::clone(target), settings.clone(), clock.clone());
    let connected = runtime.spawn(async move {
        let pool = ConnectionPool::open(target, &settings, clock);
        pool.warm_up(settings.connect_timeout).await;
        pool
    });
    connected.await.map_err(StoreError::unavailable)
}
