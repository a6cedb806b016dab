//! Tells whether anything was stored, whatever the API says.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokend_tests::Installation;

/// A connection to the server's database.
pub(crate) enum Database {
    Sqlite(SqliteConnection),
    /// And the query that tells the state of every table.
    Postgres(PgConnection, String),
}

impl Database {
    pub(crate) async fn of(installation: &Installation) -> Self {
        let Some(database) = installation.postgres() else {
            let options = SqliteConnectOptions::new().filename(installation.data_dir().join("tokend.db"));
            return Self::Sqlite(SqliteConnection::connect_with(&options).await.expect("it can be opened"));
        };
        let mut connection = PgConnection::connect(database.url()).await.expect("it can be reached");
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.expect("tables are listed");
        assert!(tables.len() > 5, "{tables:?}");
        let mut query = String::from("SELECT ''");
        for table in tables {
            let rows = "SELECT count(*) || ' rows of ' || coalesce(max(xmin::text::bigint), 0)";
            write!(query, " || '{table}: ' || ({rows} FROM {table}) || '; '").expect("a string takes it");
        }
        Self::Postgres(connection, query)
    }

    /// Something that differs as soon as anything was stored: on PostgreSQL each table's number of rows and the last transaction that
    /// wrote one, on SQLite the number by which connections notice that another one has committed a change.
    pub(crate) async fn state(&mut self) -> String {
        match self {
            Self::Sqlite(connection) => {
                let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.expect("it is told");
                format!("version {version}")
            }
            Self::Postgres(connection, query) => {
                sqlx::query_scalar(AssertSqlSafe(query.clone())).fetch_one(connection).await.expect("tables are read")
            }
        }
    }
}
