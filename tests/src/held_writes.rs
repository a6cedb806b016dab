//! Blocks the changes of a database, or reads of one of its tables, for as long as a test wants.

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::Installation;

/// Blocks every change for at least a second. PostgreSQL's timeouts still apply.
#[derive(Debug)]
pub enum Held {
    /// Holds a write transaction.
    Sqlite(SqliteConnection),
    /// Holds the lock that every change takes first.
    Postgres(PgConnection),
}

/// Blocks every change from now on.
///
/// # Panics
/// If the database can't be reached, like the functions below.
pub async fn hold(installation: &Installation) -> Held {
    if let Some(database) = installation.postgres() {
        let mut connection = PgConnection::connect(database.url())
            .await
            .expect("the server is reachable");
        // The lock that every change begins with, shared.
        let lock = "BEGIN; SELECT pg_advisory_xact_lock(8390042706830226)";
        sqlx::raw_sql(lock)
            .execute(&mut connection)
            .await
            .expect("the lock is taken");
        return Held::Postgres(connection);
    }
    let url = format!("sqlite://{}", installation.data_dir().join("tokend.db").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the file opens");
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .expect("the lock is taken");
    Held::Sqlite(connection)
}

/// Blocks everything that reads or changes a table from now on.
///
/// # Panics
/// If this is not PostgreSQL.
pub async fn hold_table(installation: &Installation, table: &str) -> Held {
    let database = installation.postgres().expect("the database is PostgreSQL");
    let mut connection = PgConnection::connect(database.url())
        .await
        .expect("the server is reachable");
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut connection)
        .await
        .expect("the lock is taken");
    Held::Postgres(connection)
}

impl Held {
    /// Unblocks the changes.
    pub async fn release(self) {
        self.end("ROLLBACK").await;
    }

    /// Changes the database, then unblocks the other changes.
    pub async fn execute(self, statement: &str) {
        self.end(&format!("{statement}; COMMIT")).await;
    }

    async fn end(self, statements: &str) {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        match self {
            Self::Sqlite(mut connection) => {
                statements.execute(&mut connection).await.expect("the transaction ends");
            }
            Self::Postgres(mut connection) => {
                statements.execute(&mut connection).await.expect("the transaction ends");
            }
        }
    }
}
