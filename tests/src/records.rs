use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::Installation;

/// The stored audit log, read from the database directly.
#[derive(Debug)]
pub enum Records {
    /// In a file.
    Sqlite(SqliteConnection),
    /// On a server.
    Postgres(PgConnection),
}

/// A stored record of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of audit_events")]
pub struct StoredRecord {
    pub chain: String,
    pub sequence: i64,
    pub time: i64,
    pub kind: String,
    pub caller: String,
    pub actor: String,
    pub address: String,
    pub resource: String,
    pub outcome: String,
    pub reason: String,
    pub detail: String,
    pub row_digest: Vec<u8>,
    pub previous_hash: Vec<u8>,
    pub hash: Vec<u8>,
}

type Columns = (
    String,
    i64,
    i64,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
);

impl From<Columns> for StoredRecord {
    fn from(columns: Columns) -> Self {
        let (
            chain,
            sequence,
            time,
            kind,
            caller,
            actor,
            address,
            resource,
            outcome,
            reason,
            detail,
            row_digest,
            before,
            hash,
        ) = columns;
        Self {
            chain,
            sequence,
            time,
            kind,
            caller,
            actor,
            address,
            resource,
            outcome,
            reason,
            detail,
            row_digest,
            previous_hash: before,
            hash,
        }
    }
}

impl Records {
    /// Connects to the installation's database.
    ///
    /// # Panics
    /// If the database can't be opened or read, like the functions below.
    pub async fn of_installation(installation: &Installation) -> Self {
        match installation.postgres() {
            Some(database) => Self::Postgres(
                PgConnection::connect(database.url())
                    .await
                    .expect("the server is reachable"),
            ),
            None => {
                let options = SqliteConnectOptions::new().filename(installation.data_dir().join("tokend.db"));
                Self::Sqlite(SqliteConnection::connect_with(&options).await.expect("the file opens"))
            }
        }
    }

    /// Returns the records of one chain, in order.
    pub async fn of(&mut self, chain: &str) -> Vec<StoredRecord> {
        self.all()
            .await
            .into_iter()
            .filter(|record| record.chain == chain)
            .collect()
    }

    /// Returns every record, by chain and sequence.
    pub async fn all(&mut self) -> Vec<StoredRecord> {
        const ALL: &str = "SELECT chain, sequence, time, type, caller, actor, address, resource, outcome, \
                           reason, detail, row_digest, previous_hash, hash FROM audit_events ORDER BY chain, sequence";
        let rows: Vec<Columns> = match self {
            Self::Sqlite(connection) => sqlx::query_as(ALL).fetch_all(connection).await,
            Self::Postgres(connection) => sqlx::query_as(ALL).fetch_all(connection).await,
        }
        .expect("the records are read");
        rows.into_iter().map(StoredRecord::from).collect()
    }

    /// Runs a statement directly on the database and returns the number of rows it changed.
    pub async fn execute(&mut self, statement: &str) -> u64 {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        match self {
            Self::Sqlite(connection) => statement.execute(connection).await.map(|done| done.rows_affected()),
            Self::Postgres(connection) => statement.execute(connection).await.map(|done| done.rows_affected()),
        }
        .expect("the statement runs")
    }

    /// Returns the integer that a query finds.
    pub async fn count(&mut self, query: &str) -> i64 {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
        }
        .expect("the query succeeds")
    }
}
