//! Databases that let nobody begin a change, or read a table, for as long as a test likes.

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::Installation;

/// Keeps every change waiting, for a second at least: PostgreSQL's timeouts go on.
#[derive(Debug)]
pub enum Held {
    /// By a transaction that writes.
    Sqlite(SqliteConnection),
    /// By the lock that every change begins with.
    Postgres(PgConnection),
}

/// Has every change wait from now on.
///
/// # Panics
/// If the database can't be reached, like everything below.
pub async fn hold(installation: &Installation) -> Held {
    if let Some(database) = installation.postgres() {
        let mut connection = PgConnection::connect(database.url()).await.expect("it can be reached");
        // The lock that every change begins with, shared.
        let lock = "BEGIN; SELECT pg_advisory_xact_lock(8390042706830226)";
        sqlx::raw_sql(lock).execute(&mut connection).await.expect("the lock");
        return Held::Postgres(connection);
    }
    let url = format!("sqlite://{}", installation.data_dir().join("tokend.db").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("it can be opened");
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.expect("the lock");
    Held::Sqlite(connection)
}

/// Has everything that reads or changes a table wait from now on.
///
/// # Panics
/// If this is not PostgreSQL.
pub async fn hold_table(installation: &Installation, table: &str) -> Held {
    let database = installation.postgres().expect("it is PostgreSQL");
    let mut connection = PgConnection::connect(database.url()).await.expect("it can be reached");
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut connection).await.expect("the lock");
    Held::Postgres(connection)
}

impl Held {
    /// Lets the changes go on.
    pub async fn release(self) {
        self.end("ROLLBACK").await;
    }

    /// Changes the database itself, and then lets the others go on.
    pub async fn execute(self, statement: &str) {
        self.end(&format!("{statement}; COMMIT")).await;
    }

    async fn end(self, statements: &str) {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        match self {
            Self::Sqlite(mut connection) => drop(statements.execute(&mut connection).await.expect("it is released")),
            Self::Postgres(mut connection) => drop(statements.execute(&mut connection).await.expect("it is released")),
        }
    }
}
