//! The store rejects a database that it can't use, with an error of one sentence, and does not change the database.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokend_core::keyring::{RootKeys, WrongKeys};
use tokend_store::{OpenError, Store, StoreSettings, migrate, schema_status};
use tokend_test_support::{on_both_databases, on_sqlite};

use crate::support::{Fixture, new_roots};

on_both_databases!(
    a_database_that_is_not_initialized,
    an_initialized_database_opens_again,
    a_newer_schema,
    an_edited_migration,
    another_programs_database,
    another_key_ring,
    a_ring_that_lacks_a_key,
    a_database_without_keys,
);

on_sqlite!(sqlite_alone:
    bad_urls,
    a_file_that_is_not_a_database,
    a_missing_directory,
    an_unwritable_file_or_directory,
    a_file_in_use,
    only_the_owner_can_read_the_file,
);

pub(crate) async fn open(
    settings: &StoreSettings,
    roots: &Arc<RootKeys>,
    fixture: &Fixture,
) -> Result<Store, OpenError> {
    Store::open(settings, Arc::clone(roots), fixture.clock()).await
}

async fn refusal(fixture: &Fixture) -> OpenError {
    open(&fixture.settings, &fixture.roots, fixture)
        .await
        .expect_err("the store rejects the database")
}

async fn a_database_that_is_not_initialized(fixture: Fixture) {
    // An empty database.
    assert!(matches!(refusal(&fixture).await, OpenError::NotInitialized { .. }));
    if fixture.is_sqlite() {
        assert!(!fixture.file().exists());
        fs::write(fixture.file(), "").expect("an empty file");
        assert!(matches!(refusal(&fixture).await, OpenError::NotInitialized { .. }));
    }
    assert_eq!(
        schema_status(&fixture.settings)
            .await
            .expect("`schema_status` succeeds")
            .version,
        0
    );
    assert!(matches!(
        migrate(&fixture.settings).await,
        Err(OpenError::NotInitialized { .. })
    ));
    // The schema without rows.
    let store = fixture.created().await;
    assert!(!store.is_initialized().await.expect("`is_initialized` succeeds"));
    let error = refusal(&fixture).await;
    assert!(matches!(error, OpenError::NotInitialized { .. }), "{error:?}");
    assert!(error.to_string().contains("tokend init"), "{error}");
}

async fn an_initialized_database_opens_again(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert!(store.is_initialized().await.expect("`is_initialized` succeeds"));
    store.close().await;
    let mut settings = fixture.settings.clone();
    settings.migrate = false;
    open(&settings, &fixture.roots, &fixture)
        .await
        .expect("the schema is current");
    assert!(
        !migrate(&fixture.settings)
            .await
            .expect("the schema is current")
            .is_behind()
    );
    // A second initialization fails and changes nothing.
    let again = Store::create(&fixture.settings, new_roots(), fixture.clock())
        .await
        .expect("the database opens");
    again
        .initialize(fixture.installation(&again).await)
        .await
        .expect_err("the database is initialized");
}

async fn a_newer_schema(fixture: Fixture) {
    fixture.initialized().await.close().await;
    fixture
        .sql("UPDATE tokend_migrations SET version = 99 WHERE version = (SELECT max(version) FROM tokend_migrations)")
        .await;
    for error in [
        refusal(&fixture).await,
        migrate(&fixture.settings).await.expect_err("the schema is newer"),
    ] {
        assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error:?}");
    }
}

async fn an_edited_migration(fixture: Fixture) {
    fixture.initialized().await.close().await;
    fixture
        .sql(&format!(
            "UPDATE tokend_migrations SET checksum = {}",
            fixture.bytes(b"another")
        ))
        .await;
    assert!(matches!(
        refusal(&fixture).await,
        OpenError::MigrationDiffers { version: 1, .. }
    ));
}

async fn another_programs_database(fixture: Fixture) {
    if fixture.is_sqlite() {
        fs::write(fixture.file(), "").expect("an empty file");
    }
    fixture.sql("CREATE TABLE theirs (id integer)").await;
    let before = fixture
        .is_sqlite()
        .then(|| fs::read(fixture.file()).expect("the file is read"));
    let created = Store::create(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await;
    for error in [
        refusal(&fixture).await,
        created.expect_err("the database is another program's"),
        schema_status(&fixture.settings)
            .await
            .expect_err("the database is another program's"),
    ] {
        assert!(matches!(error, OpenError::NotOurs { .. }), "{error:?}");
    }
    if let Some(before) = before {
        assert!(
            fs::read(fixture.file()).expect("the file is read") == before,
            "the file is unchanged"
        );
    }
}

async fn another_key_ring(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let error = open(&fixture.settings, &new_roots(), &fixture)
        .await
        .expect_err("the key ring is another");
    let OpenError::WrongKeyRing { problem, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(problem, WrongKeys::Differs(fixture.ring.active_kid()));
}

async fn a_ring_that_lacks_a_key(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let key = fixture.bytes(&[7; 16]);
    fixture
        .sql(&format!(
            "INSERT INTO keyring_keys (kid, fingerprint, create_time) VALUES ('Z', {key}, 0)"
        ))
        .await;
    // The key was only added: no credential or row uses it.
    let store = open(&fixture.settings, &fixture.roots, &fixture)
        .await
        .expect("no row needs the key");
    assert_eq!(
        (store.keys().missing_keys(), store.wrong_keys()),
        (&["Z".parse().expect("a kid")][..], None)
    );
    store.close().await;
    fixture
        .sql("UPDATE keyring_keys SET activate_time = 1 WHERE kid = 'Z'")
        .await;
    let error = refusal(&fixture).await;
    let OpenError::WrongKeyRing { problem, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*problem, WrongKeys::Missing("Z".parse().expect("a kid")));
    assert!(error.to_string().contains("lacks key Z"), "{error}");
}

async fn a_database_without_keys(fixture: Fixture) {
    fixture.initialized().await.close().await;
    fixture.sql("DELETE FROM keyring_keys").await;
    let error = refusal(&fixture).await;
    assert!(
        matches!(
            error,
            OpenError::WrongKeyRing {
                problem: WrongKeys::NoneActive,
                ..
            }
        ),
        "{error:?}"
    );
}

async fn bad_urls(fixture: Fixture) {
    for url in [
        "",
        "tokend.db",
        "mysql://h/db",
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://a?mode=rwc",
        "postgres://h:port/db",
        "postgres://h/db?sslmod=verify-full",
        "postgres://h/db?target_session_attrs=standby",
    ] {
        let error = open(&StoreSettings::new(url), &fixture.roots, &fixture)
            .await
            .expect_err("the URL is invalid");
        assert!(matches!(error, OpenError::BadUrl { .. }), "{url}: {error:?}");
    }
}

async fn a_file_that_is_not_a_database(fixture: Fixture) {
    fs::write(fixture.file(), "Dear diary, today I was taken for a database.").expect("a file");
    let created = Store::create(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await;
    for error in [
        refusal(&fixture).await,
        created.expect_err("the file is not a database"),
    ] {
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    }
    assert!(
        fs::read_to_string(fixture.file())
            .expect("the file is read")
            .starts_with("Dear diary")
    );
    // A file that only starts like a database.
    fs::write(
        fixture.file(),
        [b"SQLite format 3\0".as_slice(), &[0xff; 4096]].concat(),
    )
    .expect("a file");
    assert!(matches!(refusal(&fixture).await, OpenError::NotADatabase { .. }));
}

async fn a_missing_directory(fixture: Fixture) {
    let settings = StoreSettings::new(format!(
        "sqlite://{}/missing/tokend.db",
        fixture.file().parent().expect("a directory").display()
    ));
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect_err("the file can't be created");
    assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
    assert!(matches!(
        open(&settings, &fixture.roots, &fixture).await,
        Err(OpenError::NotInitialized { .. })
    ));
}

async fn an_unwritable_file_or_directory(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let directory = fixture.file().parent().expect("a directory").to_owned();
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode is set");
    set_mode(&fixture.file(), 0o400);
    set_mode(&directory, 0o500);
    // Permissions do not restrict root. Root needs a directory in which no files can be created.
    let bound = fs::File::create(directory.join("trial")).is_err();
    if bound {
        let error = refusal(&fixture).await;
        assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
        let settings = StoreSettings::new(format!("sqlite://{}/other.db", directory.display()));
        let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
            .await
            .expect_err("the file can't be created");
        assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
    }
    set_mode(&directory, 0o700);
    let settings = StoreSettings::new("sqlite:///proc/tokend.db");
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect_err("the file can't be created");
    assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
    let settings = StoreSettings::new("sqlite:///proc");
    assert!(matches!(
        open(&settings, &fixture.roots, &fixture).await,
        Err(OpenError::CannotOpenFile { .. })
    ));
}

async fn a_file_in_use(fixture: Fixture) {
    fixture.initialized().await.close().await;
    // A restored copy can be in use too.
    fixture.sql("PRAGMA journal_mode = DELETE").await;
    let mut other = SqliteConnection::connect(&fixture.settings.url)
        .await
        .expect("the database opens");
    let mut reading = other.begin().await.expect("the transaction begins");
    sqlx::query("SELECT * FROM feed")
        .fetch_all(&mut *reading)
        .await
        .expect("the query succeeds");
    // SQLite can't switch to write-ahead logging during a read, so the store waits.
    let (settings, roots, clock) = (fixture.settings.clone(), Arc::clone(&fixture.roots), fixture.clock());
    let opening = tokio::spawn(async move { Store::open(&settings, roots, clock).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!opening.is_finished());
    reading.rollback().await.expect("the transaction ends");
    other.close().await.expect("the connection closes");
    opening
        .await
        .expect("the task finishes")
        .expect("the store opens")
        .close()
        .await;
}

async fn only_the_owner_can_read_the_file(fixture: Fixture) {
    let _store = fixture.initialized().await;
    for extension in ["db", "db-wal", "db-shm"] {
        let file = fixture.file().with_extension(extension);
        let mode = fs::metadata(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
