//! Opening a store: each way of opening it says what the database is for and what is checked before.

use std::sync::Arc;

use tokend_core::{clock::Clock, keyring::RootKeys};
use tokio::sync::Semaphore;

use super::{Inner, Shared, Store, Way};
use crate::{
    database::{self, Purpose},
    error::StoreError,
    home::Home,
    keys::Keys,
    lane::{self, Lane, Turns},
    open_error::OpenError,
    settings::Settings,
};

impl Store {
    /// Opens an initialized database, after bringing its schema up to date (unless [`Settings::migrate`] is off). `roots` must have
    /// every key that the database knows, that has ever signed, and that is not retired.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open(settings: &Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        Self::open_for(settings, roots, clock, Purpose::Change).await
    }

    /// Opens an initialized database as [`open`](Self::open) does, and keeps a SQLite file from every other process that opens it in this
    /// way, until the store is closed: to serve from it, or to change what servers must not see half-done.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open_alone(settings: &Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        Self::open_for(settings, roots, clock, Purpose::Serve).await
    }

    async fn open_for(settings: &Settings, roots: Arc<RootKeys>, clock: Clock, purpose: Purpose) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, purpose).await?;
        // By the lane that waits for a connection: a start may take its time.
        let checked = store.reserved().check().await;
        store.unless_refused(checked).await
    }

    /// Opens an initialized database as [`open`](Self::open) does, but with whatever roots: what is wrong with them is told by
    /// [`wrong_keys`](Self::wrong_keys). To look at, not to serve from.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn inspect(settings: &Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, Purpose::Change).await?;
        let checked = match store.reserved().run(crate::installation::check).await {
            Err(OpenError::WrongKeyRing { .. }) => Ok(()),
            checked => checked,
        };
        store.unless_refused(checked).await
    }

    /// Opens a database that may be empty or missing, in order to [`initialize`](Self::initialize) it: makes the file (mode 0600)
    /// and the schema, and asks neither for an installation nor whose key ring it is.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn create(settings: &Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        Self::connect(settings, roots, clock, Purpose::Initialize).await
    }

    /// Opens an initialized database whose schema is up to date, in order to read it: nothing can be changed, the schema neither.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open_to_read(settings: &Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, Purpose::Read).await?;
        let checked = store.run(crate::installation::check).await;
        store.unless_refused(checked).await
    }

    /// Opens an initialized database as [`open_alone`](Self::open_alone) does, also one that no server may start on: to restore it.
    ///
    /// # Errors
    /// [`OpenError`], one sentence for the operator.
    pub async fn open_to_restore(settings: &Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, OpenError> {
        let store = Self::connect(settings, roots, clock, Purpose::Serve).await?;
        let checked = store.reserved().check_installation().await;
        store.unless_refused(checked).await
    }

    /// Logs a warning if what goes to and from the database can be read on the way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn warn_if_unencrypted(&self) -> Result<(), StoreError> {
        self.run(|shared| async move {
            if shared.connection.uses_tcp() && !shared.is_encrypted().await? {
                let database = shared.database.as_str();
                tracing::warn!(
                    database,
                    "the connection to PostgreSQL is not encrypted; add sslmode=verify-full to the database URL"
                );
            }
            Ok(())
        })
        .await
    }

    /// Refuses a database in which something revoked may work again, such as one whose restore was not finished.
    ///
    /// # Errors
    /// [`OpenError::Untrusted`], or the database failed.
    pub async fn check_feed(&self) -> Result<(), OpenError> {
        self.run(|shared| async move { crate::feed::check(&shared).await }).await
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
        self.run(crate::installation::check).await?;
        Ok(crate::installation::complete(self).await?)
    }

    async fn connect(settings: &Settings, roots: Arc<RootKeys>, clock: Clock, purpose: Purpose) -> Result<Self, OpenError> {
        let home = Home::start("tokend-store").map_err(OpenError::NoThread)?;
        let wanted = settings.clone();
        let opened = home.spawn(async move { database::open(&wanted, purpose).await }).await;
        let target = Arc::new(lane::result_of(opened)?);
        let writer = target.is_sqlite().then(|| Arc::new(Semaphore::new(1)));
        let keys = Keys::new(roots).map_err(|problem| OpenError::WrongKeyRing { database: target.name(), problem })?;
        let shared = Shared {
            connection: lane::connect(&home, &target, settings, &clock).await?,
            keys: Arc::new(keys),
            refused: Arc::default(),
            database: target.name(),
            settings: settings.clone(),
            clock,
            time_floor: Arc::default(),
            turns: Turns::new(settings, writer.clone()),
            log: None,
        };
        let reserved_home = Home::start("tokend-reserved").map_err(OpenError::NoThread)?;
        // What must not stand in line is worth waiting for, too.
        let wanted =
            Settings { max_connections: settings.reserved_connections, pool_wait: settings.write_wait, ..settings.clone() };
        let reserved = Shared {
            connection: lane::connect(&reserved_home, &target, &wanted, &shared.clock).await?,
            turns: Turns::new(&wanted, writer.clone()),
            ..shared.clone()
        };
        let lists_home = Home::start("tokend-lists").map_err(OpenError::NoThread)?;
        // Many lists share few connections and take turns, statement by statement.
        let wanted = Settings { max_connections: settings.list_connections, pool_wait: settings.write_wait, ..settings.clone() };
        let lists = Shared {
            connection: lane::connect(&lists_home, &target, &wanted, &shared.clock).await?,
            turns: Turns::new(&wanted, writer),
            log: target.log().map(Arc::new),
            ..shared.clone()
        };
        let inner = Inner {
            ordinary: Lane::new(home, shared, settings.max_waiting),
            reserved: Lane::new(reserved_home, reserved, settings.max_waiting),
            lists: Lane::new(lists_home, lists, settings.max_lists),
        };
        Ok(Self { inner: Arc::new(inner), way: Way::Ordinary })
    }
}
