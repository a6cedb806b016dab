//! What can't be used is refused with one sentence, and left as it was found.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokend_core::keyring::{RootKeys, WrongKeys};
use tokend_store::{OpenError, Settings, Store, migrate, schema_status};
use tokend_tests::postgres::Pooler;

use crate::support::{Fixture, new_roots, on_both, only_on};

on_both!(
    what_is_not_initialized,
    what_is_initialized_opens_again,
    a_newer_schema,
    an_edited_migration,
    another_programs_database,
    another_key_ring,
    a_ring_without_a_key,
    a_database_that_knows_no_key,
);
only_on!(sqlite_alone, Sqlite: urls, a_file_that_is_no_database, a_missing_directory, an_unwritable_place, a_file_in_use, nobody_else_may_read_the_file);
only_on!(postgres_names, Postgres: another_encoding, a_user_who_may_not_create_tables, every_host_form, a_connection_pooler);
only_on!(postgres_alone, Postgres: a_server_that_forgets, a_server_that_is_not_there, a_schema_without_a_home, passwords_are_not_told);

async fn open(settings: &Settings, roots: &Arc<RootKeys>, fixture: &Fixture) -> Result<Store, OpenError> {
    Store::open(settings, Arc::clone(roots), fixture.clock()).await
}

async fn refusal(fixture: &Fixture) -> OpenError {
    open(&fixture.settings, &fixture.roots, fixture).await.expect_err("it can't be opened")
}

async fn what_is_not_initialized(fixture: Fixture) {
    // Nothing there at all.
    assert!(matches!(refusal(&fixture).await, OpenError::NotInitialized { .. }));
    if fixture.is_sqlite() {
        assert!(!fixture.file().exists());
        fs::write(fixture.file(), "").expect("an empty file");
        assert!(matches!(refusal(&fixture).await, OpenError::NotInitialized { .. }));
    }
    assert_eq!(schema_status(&fixture.settings).await.expect("it works").version, 0);
    assert!(matches!(migrate(&fixture.settings).await, Err(OpenError::NotInitialized { .. })));
    // The schema and nothing in it.
    let store = fixture.created().await;
    assert!(!store.is_initialized().await.expect("it works"));
    let error = refusal(&fixture).await;
    assert!(matches!(error, OpenError::NotInitialized { .. }), "{error:?}");
    assert!(error.to_string().contains("tokend init"), "{error}");
}

async fn what_is_initialized_opens_again(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert!(store.is_initialized().await.expect("it works"));
    store.close().await;
    let mut settings = fixture.settings.clone();
    settings.migrate = false;
    open(&settings, &fixture.roots, &fixture).await.expect("nothing is due");
    assert!(!migrate(&fixture.settings).await.expect("nothing is due").is_behind());
    // Initializing asks for no ring, and changes nothing that is there.
    let again = Store::create(&fixture.settings, new_roots(), fixture.clock()).await.expect("it opens");
    again.initialize(fixture.installation(&again).await).await.expect_err("it is initialized");
}

async fn a_newer_schema(fixture: Fixture) {
    fixture.initialized().await.close().await;
    fixture.sql("UPDATE tokend_migrations SET version = 99 WHERE version = (SELECT max(version) FROM tokend_migrations)").await;
    for error in [refusal(&fixture).await, migrate(&fixture.settings).await.expect_err("it is newer")] {
        assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error:?}");
    }
}

async fn an_edited_migration(fixture: Fixture) {
    fixture.initialized().await.close().await;
    fixture.sql(&format!("UPDATE tokend_migrations SET checksum = {}", fixture.bytes(b"another"))).await;
    assert!(matches!(refusal(&fixture).await, OpenError::MigrationDiffers { version: 1, .. }));
}

async fn another_programs_database(fixture: Fixture) {
    if fixture.is_sqlite() {
        fs::write(fixture.file(), "").expect("an empty file");
    }
    fixture.sql("CREATE TABLE theirs (id integer)").await;
    let before = fixture.is_sqlite().then(|| fs::read(fixture.file()).expect("it is there"));
    let created = Store::create(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await;
    for error in
        [refusal(&fixture).await, created.expect_err("it is theirs"), schema_status(&fixture.settings).await.expect_err("theirs")]
    {
        assert!(matches!(error, OpenError::NotOurs { .. }), "{error:?}");
    }
    if let Some(before) = before {
        assert!(fs::read(fixture.file()).expect("it is there") == before, "the file was changed");
    }
}

async fn another_key_ring(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let error = open(&fixture.settings, &new_roots(), &fixture).await.expect_err("it is another");
    let OpenError::WrongKeyRing { problem, .. } = error else { panic!("{error:?}") };
    assert_eq!(problem, WrongKeys::Differs(fixture.ring.active_kid()));
}

async fn a_ring_without_a_key(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let key = fixture.bytes(&[7; 16]);
    fixture.sql(&format!("INSERT INTO keyring_keys (kid, fingerprint, create_time) VALUES ('Z', {key}, 0)")).await;
    // It was only added: nothing was made with it.
    let store = open(&fixture.settings, &fixture.roots, &fixture).await.expect("nothing needs it");
    assert_eq!((store.keys().lacked(), store.wrong_keys()), (&["Z".parse().expect("a kid")][..], None));
    store.close().await;
    fixture.sql("UPDATE keyring_keys SET activate_time = 1 WHERE kid = 'Z'").await;
    let error = refusal(&fixture).await;
    let OpenError::WrongKeyRing { problem, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*problem, WrongKeys::Lacks("Z".parse().expect("a kid")));
    assert!(error.to_string().contains("lacks key Z"), "{error}");
}

async fn a_database_that_knows_no_key(fixture: Fixture) {
    fixture.initialized().await.close().await;
    fixture.sql("DELETE FROM keyring_keys").await;
    let error = refusal(&fixture).await;
    assert!(matches!(error, OpenError::WrongKeyRing { problem: WrongKeys::NoneActive, .. }), "{error:?}");
}

async fn urls(fixture: Fixture) {
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
        let error = open(&Settings::new(url), &fixture.roots, &fixture).await.expect_err("it is no good");
        assert!(matches!(error, OpenError::BadUrl { .. }), "{url}: {error:?}");
    }
}

async fn a_file_that_is_no_database(fixture: Fixture) {
    fs::write(fixture.file(), "Dear diary, today I was taken for a database.").expect("a file");
    let created = Store::create(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await;
    for error in [refusal(&fixture).await, created.expect_err("it is none")] {
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    }
    assert!(fs::read_to_string(fixture.file()).expect("it is there").starts_with("Dear diary"));
    // One that only begins like a database.
    fs::write(fixture.file(), [b"SQLite format 3\0".as_slice(), &[0xff; 4096]].concat()).expect("a file");
    assert!(matches!(refusal(&fixture).await, OpenError::NotADatabase { .. }));
}

async fn a_missing_directory(fixture: Fixture) {
    let settings = Settings::new(format!("sqlite://{}/missing/tokend.db", fixture.file().parent().expect("a directory").display()));
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect_err("it can't be made");
    assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
    assert!(matches!(open(&settings, &fixture.roots, &fixture).await, Err(OpenError::NotInitialized { .. })));
}

async fn an_unwritable_place(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let directory = fixture.file().parent().expect("a directory").to_owned();
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    set_mode(&fixture.file(), 0o400);
    set_mode(&directory, 0o500);
    // Permissions do not bind root: there, a place that takes no files must do.
    let bound = fs::File::create(directory.join("trial")).is_err();
    if bound {
        let error = refusal(&fixture).await;
        assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
        let settings = Settings::new(format!("sqlite://{}/other.db", directory.display()));
        let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect_err("it can't be made");
        assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
    }
    set_mode(&directory, 0o700);
    let settings = Settings::new("sqlite:///proc/tokend.db");
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect_err("it can't be made");
    assert!(matches!(error, OpenError::CannotOpenFile { .. }), "{error:?}");
    let settings = Settings::new("sqlite:///proc");
    assert!(matches!(open(&settings, &fixture.roots, &fixture).await, Err(OpenError::CannotOpenFile { .. })));
}

async fn a_file_in_use(fixture: Fixture) {
    fixture.initialized().await.close().await;
    // As a restored copy may be.
    fixture.sql("PRAGMA journal_mode = DELETE").await;
    let mut other = SqliteConnection::connect(&fixture.settings.url).await.expect("it opens");
    let mut reading = other.begin().await.expect("it begins");
    sqlx::query("SELECT * FROM feed").fetch_all(&mut *reading).await.expect("it reads");
    // It can't be switched to write-ahead logging while someone reads, and is worth waiting for.
    let (settings, roots, clock) = (fixture.settings.clone(), Arc::clone(&fixture.roots), fixture.clock());
    let opening = tokio::spawn(async move { Store::open(&settings, roots, clock).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!opening.is_finished());
    reading.rollback().await.expect("it ends");
    other.close().await.expect("it closes");
    opening.await.expect("it ends").expect("it opens").close().await;
}

async fn nobody_else_may_read_the_file(fixture: Fixture) {
    let _store = fixture.initialized().await;
    for extension in ["db", "db-wal", "db-shm"] {
        let file = fixture.file().with_extension(extension);
        let mode = fs::metadata(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

fn with_parameter(fixture: &Fixture, parameter: &str) -> Settings {
    let url = &fixture.settings.url;
    Settings::new(format!("{url}{}{parameter}", if url.contains('?') { '&' } else { '?' }))
}

async fn a_server_that_forgets(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let mut settings = with_parameter(&fixture, "options[synchronous_commit]=off");
    let error = open(&settings, &fixture.roots, &fixture).await.expect_err("it could forget");
    assert!(matches!(error, OpenError::UnsafeDurability { setting: "synchronous_commit", .. }), "{error:?}");
    settings.allow_unsafe_durability = true;
    open(&settings, &fixture.roots, &fixture).await.expect("it was told to");
    let settings = with_parameter(&fixture, "options[synchronous_commit]=local");
    open(&settings, &fixture.roots, &fixture).await.expect("this does not forget");
}

async fn a_server_that_is_not_there(fixture: Fixture) {
    let error = open(&Settings::new("postgres://tokend:hush@127.0.0.1:1/tokend"), &fixture.roots, &fixture).await;
    let error = error.expect_err("nobody listens");
    assert!(matches!(error, OpenError::CannotConnect { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    // A server, but no such database.
    let (base, _) = fixture.settings.url.rsplit_once('/').expect("a URL");
    let error =
        open(&Settings::new(format!("{base}/no_such_database")), &fixture.roots, &fixture).await.expect_err("it is missing");
    assert!(matches!(error, OpenError::CannotConnect { .. }), "{error:?}");
}

async fn a_schema_without_a_home(fixture: Fixture) {
    let settings = with_parameter(&fixture, "options[search_path]=nowhere");
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect_err("there is no schema");
    assert!(matches!(error, OpenError::BadUrl { .. }), "{error:?}");
    // One beside another program's is a schema of our own.
    fixture.sql("CREATE TABLE theirs (id integer); CREATE SCHEMA ours").await;
    let settings = with_parameter(&fixture, "options[search_path]=ours,public");
    let store = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect("it is empty");
    store.initialize(fixture.installation(&store).await).await.expect("it is new");
    assert_eq!(fixture.number("SELECT count(*) FROM ours.feed").await, 1);
}

async fn passwords_are_not_told(fixture: Fixture) {
    let (_, rest) = fixture.settings.url.split_once("postgres@").expect("the harness's URL");
    let settings = Settings::new(format!("postgres://postgres:hush@{rest}"));
    let error = open(&settings, &fixture.roots, &fixture).await.expect_err("it is empty");
    let store = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect("trusted anyway");
    assert!(!format!("{error} {error:?} {store:?} {settings:?}").contains("hush"));
}

/// The harness's server under another host form: what stands behind the `@`, made of its host, its port and the database.
fn url_with(fixture: &Fixture, user: Option<&str>, place: impl Fn(&str, &str, &str) -> String) -> Settings {
    let (rest, place_there) = fixture.settings.url.rsplit_once('@').expect("the harness's URL");
    let (host, database) = place_there.split_once('/').expect("the harness's URL");
    let (host, port) = host.split_once(':').unwrap_or((host, "5432"));
    let user = user.map_or_else(|| rest.to_owned(), |user| format!("postgres://{user}"));
    Settings::new(format!("{user}@{}", place(host, port, database)))
}

/// Bytes that mean one letter here mean another there, or nothing.
async fn another_encoding(fixture: Fixture) {
    let database = format!("{}_latin1", fixture.settings.url.rsplit_once('/').expect("a URL").1);
    fixture.sql(&format!("CREATE DATABASE {database} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")).await;
    let settings = url_with(&fixture, None, |host, port, _| format!("{host}:{port}/{database}"));
    let created = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await;
    let opened = open(&settings, &fixture.roots, &fixture).await;
    fixture.sql(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
    for refused in [created, opened] {
        let error = refused.expect_err("it can't hold every name");
        assert!(matches!(&error, OpenError::WrongEncoding { found, .. } if found == "LATIN1"), "{error:?}");
        assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");
    }
}

async fn a_user_who_may_not_create_tables(fixture: Fixture) {
    let user = format!("{}-user", fixture.settings.url.rsplit_once('/').expect("a URL").1);
    fixture.sql(&format!("CREATE ROLE \"{user}\" LOGIN PASSWORD 'hush'")).await;
    let place = |host: &str, port: &str, database: &str| format!("{host}:{port}/{database}");
    let settings = url_with(&fixture, Some(&format!("{user}:hush")), place);
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect_err("it may not");
    let sentence = error.to_string();
    assert!(matches!(error, OpenError::MissingPrivilege { .. }), "{error:?}");
    // What it says is what helps.
    let grant = sentence.split('`').nth(1).expect("it names the grant");
    fixture.sql(grant).await;
    Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect("now it may").close().await;
    fixture.sql(&format!("DROP OWNED BY \"{user}\"; DROP ROLE \"{user}\"")).await;
}

async fn every_host_form(fixture: Fixture) {
    fixture.initialized().await.close().await;
    for settings in [
        url_with(&fixture, None, |host, port, database| format!("{host}:{port}/{database}?sslmode=disable&connect_timeout=9")),
        url_with(&fixture, None, |host, port, database| format!("/?dbname={database}&host={host}&port={port}")),
        url_with(&fixture, None, |host, port, database| format!("/{database}?ssl-mode=prefer&host={host}&port={port}")),
    ] {
        let opened = open(&settings, &fixture.roots, &fixture).await;
        opened.unwrap_or_else(|error| panic!("{}: {error}", settings.url)).close().await;
    }
}

/// PgBouncer hands one connection to several clients, one transaction each: settings, locks and prepared statements of one are met by
/// others.
async fn a_connection_pooler(fixture: Fixture) {
    fixture.initialized().await.close().await;
    // As it comes, and told to overlook what it does not know.
    for ignored in ["", "ignore_startup_parameters = extra_float_digits, options"] {
        let Some(pooler) = Pooler::start(fixture.database(), ignored) else { return };
        let settings = Settings::new(pooler.url());
        let created = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await;
        for refused in [created, open(&settings, &fixture.roots, &fixture).await] {
            let error = refused.expect_err("it is no server of ours");
            assert!(matches!(error, OpenError::ConnectionPooler { .. }), "{ignored}: {error:?}");
            assert!(error.to_string().contains("PgBouncer"), "{error}");
        }
    }
}
