//! A separate database for each test, sample rows, and direct SQL that bypasses the store.

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;
use tokend_core::{
    address::{AllowedAddresses, Networks, parse_network},
    audit::{Chain, Head},
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    credential::{CredentialId, Kind, Minted},
    feed::Revision,
    keyring::{KeyRing, RootKeys},
    labels::Labels,
    lease::Terms,
    name::{CallerKeyName, TokenName, WorkspaceId},
    organization::Organization,
    policy::PolicyState,
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName},
    time::{Clock, Timestamp},
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, NewInstallation, Store, StoreError, StoreSettings, WriteTx};

use tokend_test_support::{Storage, postgres};
/// An empty database, a key ring and a clock that can be moved.
pub(crate) struct Fixture {
    pub(crate) settings: StoreSettings,
    pub(crate) roots: Arc<RootKeys>,
    /// The key ring that the root keys generate for a new installation.
    pub(crate) ring: Arc<KeyRing>,
    ahead_micros: Arc<AtomicI64>,
    place: Place,
}

enum Place {
    Directory(TempDir),
    Server { database: postgres::Database },
}

/// Runs a test on a fresh database. Does nothing if the test needs PostgreSQL and there is none.
pub(crate) fn run_test<F: Future<Output = ()>>(storage: Storage, test: impl FnOnce(Fixture) -> F) {
    run_within(Duration::from_secs(120), storage, test);
}

/// Like [`run_test`], with a longer time limit.
pub(crate) fn run_within<F: Future<Output = ()>>(limit: Duration, storage: Storage, test: impl FnOnce(Fixture) -> F) {
    let Some(fixture) = Fixture::new(storage) else { return };
    tokend_test_support::run_within(limit, test(fixture));
}

#[expect(clippy::disallowed_types, reason = "test entry point")]
pub(crate) fn random() -> rand::rngs::SysRng {
    rand::rngs::SysRng
}

pub(crate) fn new_roots() -> Arc<RootKeys> {
    Arc::new(RootKeys::generate("tkd".parse().expect("a prefix"), &mut random()).expect("randomness"))
}

impl Fixture {
    fn new(storage: Storage) -> Option<Self> {
        let (url, place) = match storage {
            Storage::Sqlite => {
                let directory = tempfile::tempdir().expect("a directory");
                (
                    format!("sqlite://{}/tokend.db", directory.path().display()),
                    Place::Directory(directory),
                )
            }
            Storage::Postgres => {
                let database = postgres::database()?;
                (database.url().to_owned(), Place::Server { database })
            }
        };
        let roots = new_roots();
        let ring = Arc::new(roots.ring(&roots.initial_keys()).expect("the ring has these keys"));
        // A busy machine may connect slowly.
        let settings = StoreSettings {
            pool_wait: Duration::from_secs(5),
            ..StoreSettings::new(url)
        };
        Some(Self {
            settings,
            roots,
            ring,
            ahead_micros: Arc::default(),
            place,
        })
    }

    /// Returns the epoch that the database stores, of a revision as clients see it. The tests' servers are on their first
    /// timeline.
    pub(crate) fn stored_epoch(&self, shown: Revision) -> u64 {
        let timeline = u32::from(!self.is_sqlite());
        // Twice the same timeline cancels out.
        shown.on_timeline(timeline).epoch
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Directory(_))
    }

    pub(crate) fn file(&self) -> PathBuf {
        match &self.place {
            Place::Directory(directory) => directory.path().join("tokend.db"),
            Place::Server { .. } => panic!("this test is for SQLite"),
        }
    }

    pub(crate) fn database(&self) -> &postgres::Database {
        match &self.place {
            Place::Directory(_) => panic!("this test is for PostgreSQL"),
            Place::Server { database } => database,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.ahead_micros);
        Clock::with_offset(move || ahead.load(Ordering::SeqCst))
    }

    pub(crate) fn set_clock_ahead(&self, span: Duration) {
        self.ahead_micros
            .store(i64::try_from(span.as_micros()).expect("a short span"), Ordering::SeqCst);
    }

    /// Creates the database without initializing it.
    pub(crate) async fn created(&self) -> Store {
        Store::create(&self.settings, Arc::clone(&self.roots), self.clock())
            .await
            .expect("the database is created")
    }

    pub(crate) async fn initialized(&self) -> Store {
        let store = self.created().await;
        store
            .initialize(self.installation(&store).await)
            .await
            .expect("the database is initialized");
        store
    }

    pub(crate) async fn installation(&self, store: &Store) -> NewInstallation {
        // A caller with names in certificates would take the first revision.
        let caller = Caller {
            certificate_sans: Vec::new(),
            ..caller("root", store.now().await.expect("time"))
        };
        let key = self.caller_key(&caller);
        NewInstallation::new(caller, key, Terms::default(), &mut random()).expect("randomness")
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.settings, Arc::clone(&self.roots), self.clock())
            .await
            .expect("the store opens")
    }

    /// Returns a token of `workspace` in which every column has a non-trivial value.
    pub(crate) fn token(&self, workspace: &WorkspaceId, create_time: Timestamp) -> Token {
        let Minted { id, digest, .. } = self.ring.mint(Kind::WorkspaceToken, &mut random()).expect("randomness");
        let catalog = ScopeCatalog::bitbucket().expect("a catalogue");
        let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|text| parse_network(text).expect("a network"));
        let labels = [("team", "a \"b\" \\ c, d=e"), ("empty", ""), ("what", "grün 🦀")];
        let labels: BTreeMap<_, _> = labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Token {
            name: TokenName {
                workspace: workspace.clone(),
                id,
            },
            digest,
            resource: Resource::new(format!("workspaces/{workspace}/projects/web")).expect("a resource"),
            display_name: DisplayName::new("ci: 'quoted' \"twice\"".to_owned()).expect("a name"),
            description: Description::new("one\n\ttwo \u{1f980}".to_owned()).expect("a description"),
            scopes: GrantedScopes::grant(&catalog, &["pullrequest:write", "webhook"]).expect("scopes"),
            allowed_addresses: AllowedAddresses::Only(Networks::new(networks.to_vec()).expect("two")),
            labels: Labels::new(labels).expect("labels"),
            create_time,
            creator: "root".parse().expect("an id"),
            own_expiry: Expiry::At(after(create_time, 3_600)),
            requested_expiry: Expiry::At(after(create_time, 7_200)),
            revocation: None,
            rotated_from: Some(CredentialId::from_bytes([0xf0; CredentialId::BYTES])),
            rotated_to: Some(CredentialId::from_bytes([0x0f; CredentialId::BYTES])),
        }
    }

    pub(crate) fn caller_key(&self, caller: &Caller) -> CallerKey {
        let Minted { id, digest, .. } = self.ring.mint(Kind::CallerKey, &mut random()).expect("randomness");
        CallerKey {
            name: CallerKeyName {
                caller: caller.id.clone(),
                id,
            },
            digest,
            create_time: caller.create_time,
            expire_time: after(caller.create_time, 3_600),
            revoke_time: None,
        }
    }

    /// Turns the database into one of an older tokend, whose feed was never sealed. Requires that no store is open.
    pub(crate) async fn forget_seal(&self) {
        let store = self.open().await;
        let head = store
            .audit_head(&Chain::Installation)
            .await
            .expect("`audit_head` succeeds")
            .expect("the chain has a head");
        store.close().await;
        let mac = Head {
            is_feed_sealed: false,
            ..head
        }
        .mac(&self.ring)
        .expect("the ring has the key");
        let mac = self.bytes(mac.as_bytes());
        self.sql(&format!(
            "UPDATE audit_chains SET is_feed_sealed = 0, mac = {mac} WHERE chain = '-'"
        ))
        .await;
        self.sql("UPDATE feed SET mac = NULL").await;
    }

    /// Runs a statement without the store and returns the number of affected rows.
    pub(crate) async fn sql(&self, statement: &str) -> u64 {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.settings.url)
                .await
                .expect("the connection opens");
            let done = statement.execute(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            done.rows_affected()
        } else {
            let mut connection = PgConnection::connect(&self.settings.url)
                .await
                .expect("the connection opens");
            let done = statement.execute(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            done.rows_affected()
        }
    }

    /// Reads one column without the store.
    pub(crate) async fn column<T>(&self, query: &str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.settings.url)
                .await
                .expect("the connection opens");
            let rows = query.fetch_all(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            rows.iter().map(|row| row.get(0)).collect()
        } else {
            let mut connection = PgConnection::connect(&self.settings.url)
                .await
                .expect("the connection opens");
            let rows = query.fetch_all(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            rows.iter().map(|row| row.get(0)).collect()
        }
    }

    /// Reads one whole number without the store.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.column(query).await[0]
    }

    /// Returns a literal of these bytes in this database's SQL.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.is_sqlite() {
            format!("x'{digits}'")
        } else {
            format!("'\\x{digits}'::bytea")
        }
    }
}

pub(crate) fn after(time: Timestamp, seconds: u64) -> Timestamp {
    time.plus(Duration::from_secs(seconds)).expect("before the year 10000")
}

pub(crate) fn workspace_id(text: &str) -> WorkspaceId {
    text.parse().expect("an id")
}

pub(crate) fn workspace(id: &str, create_time: Timestamp) -> Workspace {
    Workspace {
        id: workspace_id(id),
        display_name: DisplayName::new(format!("The {id} workspace")).expect("a name"),
        organization: Some("initech".parse().expect("an id")),
        state: WorkspaceState::Suspended { at: create_time },
        create_time,
        policy: policy_state(create_time),
    }
}

/// A policy that was applied at `time`, and a deadline that affects no token created since.
pub(crate) fn policy_state(time: Timestamp) -> PolicyState {
    let deadlines = format!("{}:{}", time.unix_micros() - 2, time.unix_micros() - 1);
    PolicyState {
        text: r#"{"max_lifetime":3600000000,"applied":true}"#.to_owned(),
        update_time: Some(time),
        deadlines: deadlines.parse().expect("deadlines"),
    }
}

pub(crate) fn organization(id: &str, create_time: Timestamp) -> Organization {
    Organization {
        id: id.parse().expect("an id"),
        display_name: DisplayName::new(format!("The {id} organization")).expect("a name"),
        create_time,
        policy: policy_state(create_time),
    }
}

pub(crate) fn caller(id: &str, create_time: Timestamp) -> Caller {
    Caller {
        id: id.parse().expect("an id"),
        role: Role::WorkspaceAdmin,
        workspaces: WorkspaceAccess::Only(["acme", "globex"].map(workspace_id).into()),
        certificate_sans: ["spiffe://example.org/ci,'gateway'", "ci.example.org"]
            .map(|san| san.parse().expect("a name"))
            .to_vec(),
        create_time,
    }
}

/// Inserts a workspace, and its organization if that does not exist.
pub(crate) async fn insert_workspace(store: &Store, workspace: &Workspace) -> Insert {
    if let Some(id) = &workspace.organization {
        let (Insert::Done | Insert::Taken | Insert::NoParent) =
            insert_organization(store, &organization(id.as_str(), workspace.create_time)).await;
    }
    let workspace = workspace.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_workspace(&workspace).await)
        .await
        .expect("`insert_workspace` succeeds")
}

pub(crate) async fn insert_organization(store: &Store, organization: &Organization) -> Insert {
    let organization = organization.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_organization(&organization).await)
        .await
        .expect("`insert_organization` succeeds")
}

pub(crate) async fn insert_token(store: &Store, token: &Token) -> Insert {
    let token = token.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_token(&token).await)
        .await
        .expect("`insert_token` succeeds")
}

pub(crate) async fn insert_caller(store: &Store, caller: &Caller) -> Insert {
    let caller = caller.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_caller(&caller).await)
        .await
        .expect("`insert_caller` succeeds")
}

pub(crate) async fn insert_caller_key(store: &Store, key: &CallerKey) -> Insert {
    let key = key.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_caller_key(&key).await)
        .await
        .expect("`insert_caller_key` succeeds")
}
