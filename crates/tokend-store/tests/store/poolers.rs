//! The store works through a PgBouncer that keeps the prepared statements of its clients apart, and rejects one that
//! mixes them up, whatever its settings are and however busy it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use tokend_store::{Insert, OpenError, PoolerProblem, Store, StoreSettings, is_in_use, schema_status};
use tokend_test_support::{
    on_postgres,
    postgres::{Pooler, Release},
};
use tokio::task::JoinSet;

use crate::{
    opening::open,
    support::{Fixture, insert_workspace, workspace},
};

on_postgres!(postgres_poolers:
    an_old_pooler_is_rejected,
    a_busy_old_pooler_is_rejected,
    an_old_pooler_of_several_processes_is_rejected,
    the_pooler_among_several_servers_is_named,
    a_recent_pooler_without_prepared_statements_is_rejected,
    a_busy_recent_pooler_without_prepared_statements_is_rejected,
    a_recent_pooler_works,
    a_busy_recent_pooler_works,
    a_recent_pooler_of_several_processes_works,
    session_mode_works,
    a_pool_that_is_too_small_for_the_check_delays_it_shortly,
    statement_mode_is_rejected,
    parameters_of_the_url_are_not_lost,
    a_pooler_hides_whether_servers_run,
    a_limit_on_statements_is_left_to_postgresql,
);

/// Settings that say which session of PostgreSQL a transaction gets, or how often a session is reset.
const SETTINGS: [&str; 6] = [
    "default_pool_size = 5",
    "default_pool_size = 1",
    "default_pool_size = 5\nserver_round_robin = 1",
    "default_pool_size = 2\nserver_round_robin = 1",
    "default_pool_size = 5\nmin_pool_size = 5",
    "default_pool_size = 5\nignore_startup_parameters = extra_float_digits, options",
];

/// How often each pooler is asked. Its sessions are not the same the second time.
const TRIES: usize = 2;

/// Clients of a pooler that begin and commit transactions until they are dropped.
struct Busy(JoinSet<()>);

impl Busy {
    async fn start(pooler: &Pooler, count: usize) -> Self {
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let mut client = PgConnection::connect_with(&options(pooler))
                .await
                .expect("the pooler accepts clients");
            clients.spawn(async move {
                loop {
                    let work = sqlx::raw_sql("BEGIN; SELECT pg_sleep(0.002); COMMIT");
                    work.execute(&mut client).await.expect("the transaction is committed");
                }
            });
        }
        Self(clients)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

fn options(pooler: &Pooler) -> sqlx::postgres::PgConnectOptions {
    let options: sqlx::postgres::PgConnectOptions = pooler.url().parse().expect("a URL");
    options.extra_float_digits(None)
}

/// Asserts that a pooler is rejected, in a sentence that names it and says what to do.
async fn is_rejected(fixture: &Fixture, pooler: &Pooler, case: &str) {
    let settings = StoreSettings::new(pooler.url());
    for number in 0..TRIES {
        let created = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await;
        let read = Store::open_to_read(&settings, Arc::clone(&fixture.roots), fixture.clock()).await;
        for refused in [created, open(&settings, &fixture.roots, fixture).await, read] {
            let error = refused.expect_err("the pooler is rejected");
            let problem = PoolerProblem::MixesUpStatements;
            assert!(
                matches!(&error, OpenError::ConnectionPooler { problem: found, .. } if *found == problem),
                "{case}, {number}: {error:?}"
            );
            let sentence = error.to_string();
            for part in [&*pooler.address(), "PgBouncer 1.21 or later", "max_prepared_statements"] {
                assert!(sentence.contains(part), "{sentence}");
            }
        }
        schema_status(&settings)
            .await
            .expect_err("it is no use to `migrate status` either");
    }
}

/// Asserts that the store opens through a pooler, and reads and writes.
async fn is_accepted(fixture: &Fixture, pooler: &Pooler, case: &str) {
    let settings = StoreSettings {
        pool_wait: Duration::from_secs(20),
        write_wait: Duration::from_secs(20),
        ..StoreSettings::new(pooler.url())
    };
    for _ in 0..TRIES {
        let store = open(&settings, &fixture.roots, fixture)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let id = format!("w-{}", unused_number(fixture).await);
        let now = store.now().await.expect("time");
        let inserted = insert_workspace(&store, &workspace(&id, now)).await;
        assert_eq!(inserted, Insert::Done, "{case}");
        store.close().await;
    }
}

/// Returns a number that no workspace of the fixture has as its name yet.
async fn unused_number(fixture: &Fixture) -> i64 {
    fixture.number("SELECT count(*) FROM workspaces").await
}

/// Asserts that a pooler is rejected with all of these settings, while it is idle or busy.
async fn all_are_rejected(fixture: Fixture, release: Release, more: &str, is_busy: bool) {
    fixture.initialized().await.close().await;
    // The last one resets sessions after each transaction, so that no name is taken, but no statement is there either.
    for settings in SETTINGS.into_iter().chain(["server_reset_query_always = 1"]) {
        let settings = format!("{settings}\n{more}");
        let Some(pooler) = Pooler::start(fixture.database(), release, &settings) else {
            return;
        };
        let _busy = Busy::start(&pooler, if is_busy { 4 } else { 0 }).await;
        is_rejected(&fixture, &pooler, &settings).await;
    }
}

async fn an_old_pooler_is_rejected(fixture: Fixture) {
    all_are_rejected(fixture, Release::Old, "", false).await;
}

async fn a_busy_old_pooler_is_rejected(fixture: Fixture) {
    all_are_rejected(fixture, Release::Old, "", true).await;
}

async fn an_old_pooler_of_several_processes_is_rejected(fixture: Fixture) {
    fixture.initialized().await.close().await;
    for count in [2, 4] {
        let Some(pooler) = Pooler::start_processes(count, fixture.database(), Release::Old, "default_pool_size = 3")
        else {
            return;
        };
        is_rejected(&fixture, &pooler, &format!("{count} processes")).await;
    }
}

async fn a_recent_pooler_without_prepared_statements_is_rejected(fixture: Fixture) {
    all_are_rejected(fixture, Release::Recent, "max_prepared_statements = 0", false).await;
}

async fn a_busy_recent_pooler_without_prepared_statements_is_rejected(fixture: Fixture) {
    all_are_rejected(fixture, Release::Recent, "max_prepared_statements = 0", true).await;
}

async fn the_pooler_among_several_servers_is_named(fixture: Fixture) {
    let Some(pooler) = Pooler::start(fixture.database(), Release::Old, "") else {
        return;
    };
    let url = pooler
        .url()
        .replace(&pooler.address(), &format!("127.0.0.1:1,{}", pooler.address()));
    let error = open(&StoreSettings::new(url), &fixture.roots, &fixture).await;
    let sentence = error
        .expect_err("one server is unreachable, the other one a pooler")
        .to_string();
    assert!(
        sentence.starts_with(&format!("postgres://{}/", pooler.address())),
        "{sentence}"
    );
}

/// Asserts that the store works through a pooler with all of these settings, while it is idle or busy.
async fn all_work(fixture: Fixture, is_busy: bool) {
    fixture.initialized().await.close().await;
    for settings in SETTINGS {
        // A session may have fewer statements than tokend uses.
        let settings = format!("{settings}\nmax_prepared_statements = 10");
        let Some(pooler) = Pooler::start(fixture.database(), Release::Recent, &settings) else {
            return;
        };
        let _busy = Busy::start(&pooler, if is_busy { 4 } else { 0 }).await;
        is_accepted(&fixture, &pooler, &settings).await;
    }
}

async fn a_recent_pooler_works(fixture: Fixture) {
    all_work(fixture, false).await;
}

async fn a_busy_recent_pooler_works(fixture: Fixture) {
    all_work(fixture, true).await;
}

async fn a_recent_pooler_of_several_processes_works(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let settings = "default_pool_size = 5\nmax_prepared_statements = 100";
    let Some(pooler) = Pooler::start_processes(3, fixture.database(), Release::Recent, settings) else {
        return;
    };
    is_accepted(&fixture, &pooler, "3 processes").await;
}

/// Each client has a session of its own, so that nothing can be mixed up.
async fn session_mode_works(fixture: Fixture) {
    fixture.initialized().await.close().await;
    for release in [Release::Old, Release::Recent] {
        for settings in [
            "default_pool_size = 50",
            "default_pool_size = 50\nserver_round_robin = 1",
        ] {
            let settings = format!("{settings}\npool_mode = session");
            let Some(pooler) = Pooler::start(fixture.database(), release, &settings) else {
                return;
            };
            is_accepted(&fixture, &pooler, &format!("{release:?}, {settings}")).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is about how long it takes")]
async fn a_pool_that_is_too_small_for_the_check_delays_it_shortly(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let settings = "default_pool_size = 1\npool_mode = session";
    let Some(pooler) = Pooler::start(fixture.database(), Release::Old, settings) else {
        return;
    };
    let begin = Instant::now();
    let status = schema_status(&StoreSettings::new(pooler.url()).for_command()).await;
    assert!(!status.expect("one session is enough to read the version").is_behind());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

async fn statement_mode_is_rejected(fixture: Fixture) {
    for release in [Release::Old, Release::Recent] {
        let Some(pooler) = Pooler::start(fixture.database(), release, "pool_mode = statement") else {
            return;
        };
        let settings = StoreSettings::new(pooler.url());
        let error = open(&settings, &fixture.roots, &fixture)
            .await
            .expect_err("there are no transactions");
        let problem = PoolerProblem::NoTransactions;
        assert!(
            matches!(&error, OpenError::ConnectionPooler { problem: found, .. } if *found == problem),
            "{error:?}"
        );
        assert!(error.to_string().contains("pool_mode = transaction"), "{error}");
    }
}

/// Another schema would be another installation.
async fn parameters_of_the_url_are_not_lost(fixture: Fixture) {
    fixture.initialized().await.close().await;
    for settings in ["", "ignore_startup_parameters = extra_float_digits, options"] {
        let Some(pooler) = Pooler::start(fixture.database(), Release::Recent, settings) else {
            return;
        };
        let url = format!("{}?options[search_path]=nowhere", pooler.url());
        let error = open(&StoreSettings::new(url), &fixture.roots, &fixture)
            .await
            .expect_err("the pooler does not pass on the parameter");
        let problem = PoolerProblem::DropsParameters;
        assert!(
            matches!(&error, OpenError::ConnectionPooler { problem: found, .. } if *found == problem),
            "{error:?}"
        );
        assert!(error.to_string().contains("ALTER ROLE"), "{error}");
    }
}

/// Sessions of PostgreSQL outlive the clients that used them, and are used by several.
async fn a_pooler_hides_whether_servers_run(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let direct = &fixture.settings;
    assert!(!is_in_use(direct).await.expect("PostgreSQL answers"));
    // The pooler adds the address of the client to the name by which tokend is recognized.
    let settings = "default_pool_size = 5\napplication_name_add_host = 1";
    let Some(pooler) = Pooler::start(fixture.database(), Release::Recent, settings) else {
        return;
    };
    let settings = StoreSettings::new(pooler.url());
    let error = is_in_use(&settings).await.expect_err("nobody can know");
    let problem = PoolerProblem::HidesServers;
    assert!(
        matches!(&error, OpenError::ConnectionPooler { problem: found, .. } if *found == problem),
        "{error:?}"
    );
    let store = open(&settings, &fixture.roots, &fixture)
        .await
        .expect("the store opens through the pooler");
    assert!(is_in_use(direct).await.expect("PostgreSQL answers"));
    store.close().await;
}

/// Nothing that tokend sets stays behind in a session for the next client.
async fn a_limit_on_statements_is_left_to_postgresql(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let settings = "default_pool_size = 1";
    let Some(pooler) = Pooler::start(fixture.database(), Release::Recent, settings) else {
        return;
    };
    is_accepted(&fixture, &pooler, settings).await;
    let mut next = PgConnection::connect_with(&options(&pooler))
        .await
        .expect("the pooler accepts clients");
    let changed = "SELECT name FROM pg_settings WHERE source = 'session' AND name NOT IN \
                   ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'IntervalStyle') \
                   AND name NOT LIKE 'transaction\\_%'";
    let changed: Vec<String> = sqlx::query_scalar(changed)
        .fetch_all(&mut next)
        .await
        .expect("the settings are read");
    assert!(changed.is_empty(), "{changed:?}");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    let locks: i64 = sqlx::query_scalar(locks)
        .fetch_one(&mut next)
        .await
        .expect("the locks are read");
    assert_eq!(locks, 0);
}
