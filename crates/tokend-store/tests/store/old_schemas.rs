//! A database of an older version is migrated.

use std::fs;

use tokend_core::{keyring::KeyState, policy::PolicyState, workspace::Workspace};
use tokend_store::{Insert, migrate};
use tokend_test_support::on_both_databases;

use crate::{
    schema::{empty, migrations},
    support::{Fixture, insert_token, insert_workspace, workspace, workspace_id},
};

on_both_databases!(a_schema_without_key_states_is_migrated);

async fn a_schema_without_key_states_is_migrated(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = Workspace {
        organization: None,
        policy: PolicyState::default(),
        ..workspace("acme", now)
    };
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    assert_eq!(insert_token(&store, &fixture.token(&acme.id, now)).await, Insert::Done);
    store.close().await;
    fixture.forget_seal().await;
    downgrade(&fixture, 3).await;
    assert!(
        !migrate(&fixture.settings)
            .await
            .expect("the database is migrated")
            .is_behind()
    );
    let store = fixture.open().await;
    let stored = store.stored_keys().await.expect("`stored_keys` succeeds");
    let [stored] = &stored[..] else {
        panic!("one key: {stored:?}")
    };
    assert_eq!(
        (stored.key.state, stored.activate_time),
        (KeyState::Active, Some(stored.create_time))
    );
    assert!(
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("the row is intact")
            .is_some()
    );
    assert_eq!(
        store
            .due_notices(None, 2)
            .await
            .expect("`due_notices` succeeds")
            .tokens
            .len(),
        1,
        "the token is due for its notices"
    );
    assert_eq!(
        store
            .due_key_notices(None, 2)
            .await
            .expect("`due_key_notices` succeeds")
            .keys
            .len(),
        1,
        "the key of the first caller is due for its notices"
    );
}

/// Downgrades the database to an older version of the schema. Keeps the rows in the tables and columns of that version.
/// Requires that no store is open.
async fn downgrade(fixture: &Fixture, version: usize) {
    // Keep the newer tables under another name.
    let mut copy = if fixture.is_sqlite() {
        fixture.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
        let newer = fixture.file().with_extension("newer");
        fs::copy(fixture.file(), &newer).expect("the database file can be copied");
        let query = "SELECT sql FROM sqlite_schema WHERE name = 'tokend_migrations'";
        let create = fixture.column::<String>(query).await.remove(0);
        empty(fixture).await;
        let newer = newer.display();
        format!("PRAGMA foreign_keys = OFF; ATTACH '{newer}' AS newer; {create}; ")
    } else {
        fixture
            .sql("ALTER SCHEMA public RENAME TO newer; CREATE SCHEMA public")
            .await;
        "CREATE TABLE tokend_migrations (LIKE newer.tokend_migrations INCLUDING ALL); ".to_owned()
    };
    for migration in &migrations(fixture)[..version] {
        fixture.sql(&migration.sql).await;
    }

    copy +=
        &format!("INSERT INTO tokend_migrations SELECT * FROM newer.tokend_migrations WHERE version <= {version}; ");
    for table in tables(fixture).await {
        let columns = columns(fixture, &table).await.join(", ");
        copy += &format!("DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}; ");
    }
    if !fixture.is_sqlite() {
        copy += "DROP SCHEMA newer CASCADE";
    }
    fixture.sql(&copy).await;
}

/// Returns the tables in the order of their creation, so that a row is copied after those it refers to.
async fn tables(fixture: &Fixture) -> Vec<String> {
    let query = if fixture.is_sqlite() {
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid"
    } else {
        "SELECT relname::text FROM pg_class \
         WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY oid"
    };
    fixture.column(query).await
}

async fn columns(fixture: &Fixture, table: &str) -> Vec<String> {
    let query = if fixture.is_sqlite() {
        format!("SELECT name FROM pragma_table_info('{table}')")
    } else {
        format!(
            "SELECT attname::text FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        )
    };
    fixture.column(&query).await
}
