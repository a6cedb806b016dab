//! SQL that runs directly on an installation's database.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::Installation;

impl Installation {
    /// Runs statements on its database and returns the number of rows that the last one changed.
    ///
    /// # Panics
    /// If one fails.
    pub async fn sql(&self, statements: &str) -> u64 {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        if let Some(database) = self.postgres() {
            let mut connection = PgConnection::connect(database.url())
                .await
                .expect("the server is reachable");
            let done = statements.execute(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            done.rows_affected()
        } else {
            let mut connection = self.sqlite().await;
            let done = statements.execute(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            done.rows_affected()
        }
    }

    /// Returns the first column of a query's rows, which is text.
    ///
    /// # Panics
    /// If the query fails or the column is not text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        if let Some(database) = self.postgres() {
            let mut connection = PgConnection::connect(database.url())
                .await
                .expect("the server is reachable");
            let rows = query.fetch_all(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            rows.iter().map(|row| row.get(0)).collect()
        } else {
            let mut connection = self.sqlite().await;
            let rows = query.fetch_all(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
            rows.iter().map(|row| row.get(0)).collect()
        }
    }

    async fn sqlite(&self) -> SqliteConnection {
        let url = format!("sqlite://{}", self.data_dir().join("tokend.db").display());
        SqliteConnection::connect(&url).await.expect("the file opens")
    }

    /// Returns the names of a table's columns.
    pub async fn columns(&self, table: &str) -> Vec<String> {
        if self.postgres().is_some() {
            let query = "SELECT column_name::text FROM information_schema.columns WHERE table_name =";
            self.texts(&format!("{query} '{table}'")).await
        } else {
            self.texts(&format!("SELECT name FROM pragma_table_info('{table}')"))
                .await
        }
    }
}
