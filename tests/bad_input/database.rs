//! Detects directly in the database whether a call stored anything. The audit log is excluded, because it records
//! refused calls, and so is usage, which is stored with a delay.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokend_tests::Installation;

/// A connection to the server's database.
pub(crate) enum Database {
    Sqlite(SqliteConnection),
    /// A connection, and the query for the state of every table.
    Postgres(PgConnection, String),
}

impl Database {
    pub(crate) async fn of(installation: &Installation) -> Self {
        let Some(database) = installation.postgres() else {
            let options = SqliteConnectOptions::new().filename(installation.data_dir().join("tokend.db"));
            let mut connection = SqliteConnection::connect_with(&options)
                .await
                .expect("the database opens");
            count_changes(&mut connection).await;
            return Self::Sqlite(connection);
        };
        let mut connection = PgConnection::connect(database.url())
            .await
            .expect("the connection opens");
        let tables = "SELECT tablename::text FROM pg_tables \
                      WHERE schemaname = 'public' AND tablename NOT LIKE 'audit%' \
                      AND tablename NOT LIKE '%usage' ORDER BY 1";
        let tables: Vec<String> = sqlx::query_scalar(tables)
            .fetch_all(&mut connection)
            .await
            .expect("the tables are listed");
        assert!(tables.len() > 5, "{tables:?}");
        let mut query = String::from("SELECT ''");
        for table in tables {
            let rows = "SELECT count(*) || ' rows of ' || coalesce(max(xmin::text::bigint), 0)";
            write!(query, " || '{table}: ' || ({rows} FROM {table}) || '; '").expect("a String accepts every write");
        }
        Self::Postgres(connection, query)
    }

    /// Returns a text that changes with every stored row: on PostgreSQL each table's number of rows and the last
    /// transaction that wrote one, on SQLite the number of rows that were written since [`of`](Self::of).
    pub(crate) async fn state(&mut self) -> String {
        match self {
            Self::Sqlite(connection) => {
                let changes: i64 = sqlx::query_scalar("SELECT sum(changes) FROM test_changes")
                    .fetch_one(connection)
                    .await
                    .expect("the query succeeds");
                format!("{changes} changes")
            }
            Self::Postgres(connection, query) => sqlx::query_scalar(AssertSqlSafe(query.clone()))
                .fetch_one(connection)
                .await
                .expect("the query succeeds"),
        }
    }
}

/// Adds triggers to SQLite that count row changes, except in the audit log and in the row with the time of the last
/// write.
async fn count_changes(connection: &mut SqliteConnection) {
    let tables = "SELECT name FROM sqlite_schema \
                  WHERE type = 'table' AND name NOT LIKE 'audit%' AND name NOT LIKE 'sqlite%' \
                  AND name NOT LIKE '%usage'";
    let tables: Vec<String> = sqlx::query_scalar(tables)
        .fetch_all(&mut *connection)
        .await
        .expect("the tables are listed");
    assert!(tables.len() > 5, "{tables:?}");
    let mut sql =
        String::from("CREATE TABLE test_changes (changes INTEGER NOT NULL); INSERT INTO test_changes VALUES (0);");
    for table in tables {
        for change in [
            "INSERT",
            "DELETE",
            if table == "feed" {
                "UPDATE OF epoch, revision, grant_micros, wait_micros"
            } else {
                "UPDATE"
            },
        ] {
            let name = format!("test_{table}_{}", &change[..6]);
            write!(
                sql,
                "CREATE TRIGGER {name} AFTER {change} ON {table} \
                 BEGIN UPDATE test_changes SET changes = changes + 1; END;"
            )
            .expect("a String accepts every write");
        }
    }
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .expect("the triggers are created");
}
