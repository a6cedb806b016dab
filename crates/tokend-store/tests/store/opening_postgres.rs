//! The store rejects PostgreSQL servers, users and encodings that it can't use, with an error of one sentence.

use std::sync::Arc;

use tokend_store::{OpenError, Store, StoreSettings};
use tokend_test_support::on_postgres;

use crate::{opening::open, support::Fixture};

on_postgres!(postgres_names:
    another_encoding,
    a_user_who_may_not_create_tables,
    every_host_form,
);

on_postgres!(postgres_alone:
    a_server_that_can_lose_commits,
    an_unreachable_server,
    a_missing_schema,
    passwords_are_not_shown,
);

fn with_parameter(fixture: &Fixture, parameter: &str) -> StoreSettings {
    let url = &fixture.settings.url;
    StoreSettings::new(format!("{url}{}{parameter}", if url.contains('?') { '&' } else { '?' }))
}

async fn a_server_that_can_lose_commits(fixture: Fixture) {
    fixture.initialized().await.close().await;
    let mut settings = with_parameter(&fixture, "options[synchronous_commit]=off");
    let error = open(&settings, &fixture.roots, &fixture)
        .await
        .expect_err("the server could lose commits");
    assert!(
        matches!(
            error,
            OpenError::UnsafeDurability {
                setting: "synchronous_commit",
                ..
            }
        ),
        "{error:?}"
    );
    settings.allow_unsafe_durability = true;
    open(&settings, &fixture.roots, &fixture)
        .await
        .expect("the setting allows it");
    let settings = with_parameter(&fixture, "options[synchronous_commit]=local");
    open(&settings, &fixture.roots, &fixture)
        .await
        .expect("the server loses no commits");
}

async fn an_unreachable_server(fixture: Fixture) {
    let error = open(
        &StoreSettings::new("postgres://tokend:hush@127.0.0.1:1/tokend"),
        &fixture.roots,
        &fixture,
    )
    .await;
    let error = error.expect_err("the server is unreachable");
    assert!(matches!(error, OpenError::CannotConnect { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    // The server is reachable, but the database does not exist.
    let (base, _) = fixture.settings.url.rsplit_once('/').expect("a URL");
    let error = open(
        &StoreSettings::new(format!("{base}/no_such_database")),
        &fixture.roots,
        &fixture,
    )
    .await
    .expect_err("the database is missing");
    assert!(matches!(error, OpenError::CannotConnect { .. }), "{error:?}");
}

async fn a_missing_schema(fixture: Fixture) {
    let settings = with_parameter(&fixture, "options[search_path]=nowhere");
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect_err("the schema is missing");
    assert!(matches!(error, OpenError::BadUrl { .. }), "{error:?}");
    // A separate schema next to another program's is fine.
    fixture
        .sql("CREATE TABLE theirs (id integer); CREATE SCHEMA ours")
        .await;
    let settings = with_parameter(&fixture, "options[search_path]=ours,public");
    let store = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect("the database is created");
    store
        .initialize(fixture.installation(&store).await)
        .await
        .expect("the database is initialized");
    assert_eq!(fixture.number("SELECT count(*) FROM ours.feed").await, 1);
}

async fn passwords_are_not_shown(fixture: Fixture) {
    let (_, rest) = fixture.settings.url.split_once("postgres@").expect("the harness's URL");
    let settings = StoreSettings::new(format!("postgres://postgres:hush@{rest}"));
    let error = open(&settings, &fixture.roots, &fixture)
        .await
        .expect_err("the database is empty");
    let store = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect("the server trusts all users");
    assert!(!format!("{error} {error:?} {store:?} {settings:?}").contains("hush"));
}

/// Returns settings for the harness's server with another form of host. `place` builds the part of the URL after the
/// `@` from the host, the port and the database.
fn url_with(fixture: &Fixture, user: Option<&str>, place: impl Fn(&str, &str, &str) -> String) -> StoreSettings {
    let (rest, place_there) = fixture.settings.url.rsplit_once('@').expect("the harness's URL");
    let (host, database) = place_there.split_once('/').expect("the harness's URL");
    let (host, port) = host.split_once(':').unwrap_or((host, "5432"));
    let user = user.map_or_else(|| rest.to_owned(), |user| format!("postgres://{user}"));
    StoreSettings::new(format!("{user}@{}", place(host, port, database)))
}

/// In another encoding, the same bytes are another letter, or invalid.
async fn another_encoding(fixture: Fixture) {
    let database = format!("{}_latin1", fixture.settings.url.rsplit_once('/').expect("a URL").1);
    fixture
        .sql(&format!(
            "CREATE DATABASE {database} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ))
        .await;
    let settings = url_with(&fixture, None, |host, port, _| format!("{host}:{port}/{database}"));
    let created = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock()).await;
    let opened = open(&settings, &fixture.roots, &fixture).await;
    fixture.sql(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
    for refused in [created, opened] {
        let error = refused.expect_err("the encoding lacks letters");
        assert!(
            matches!(&error, OpenError::WrongEncoding { found, .. } if found == "LATIN1"),
            "{error:?}"
        );
        assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");
    }
}

async fn a_user_who_may_not_create_tables(fixture: Fixture) {
    let user = format!("{}-user", fixture.settings.url.rsplit_once('/').expect("a URL").1);
    fixture
        .sql(&format!("CREATE ROLE \"{user}\" LOGIN PASSWORD 'hush'"))
        .await;
    let place = |host: &str, port: &str, database: &str| format!("{host}:{port}/{database}");
    let settings = url_with(&fixture, Some(&format!("{user}:hush")), place);
    let error = Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect_err("the user may not create tables");
    let sentence = error.to_string();
    assert!(matches!(error, OpenError::MissingPrivilege { .. }), "{error:?}");
    // The grant in the error solves the problem.
    let grant = sentence.split('`').nth(1).expect("the error names the grant");
    fixture.sql(grant).await;
    Store::create(&settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect("the user may create tables now")
        .close()
        .await;
    fixture
        .sql(&format!("DROP OWNED BY \"{user}\"; DROP ROLE \"{user}\""))
        .await;
}

async fn every_host_form(fixture: Fixture) {
    fixture.initialized().await.close().await;
    for settings in [
        url_with(&fixture, None, |host, port, database| {
            format!("{host}:{port}/{database}?sslmode=disable&connect_timeout=9")
        }),
        url_with(&fixture, None, |host, port, database| {
            format!("/?dbname={database}&host={host}&port={port}")
        }),
        url_with(&fixture, None, |host, port, database| {
            format!("/{database}?ssl-mode=prefer&host={host}&port={port}")
        }),
    ] {
        let opened = open(&settings, &fixture.roots, &fixture).await;
        opened
            .unwrap_or_else(|error| panic!("{}: {error}", settings.url))
            .close()
            .await;
    }
}
