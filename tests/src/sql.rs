//! What somebody does who gets at the database past the program.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::Installation;

impl Installation {
    /// Runs statements on its database, and tells how many rows the last of them met.
    ///
    /// # Panics
    /// If one fails.
    pub async fn sql(&self, statements: &str) -> u64 {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        if let Some(database) = self.postgres() {
            let mut connection = PgConnection::connect(database.url()).await.expect("it can be reached");
            let done = statements.execute(&mut connection).await.expect("it runs");
            connection.close().await.expect("it is closed");
            done.rows_affected()
        } else {
            let mut connection = self.sqlite().await;
            let done = statements.execute(&mut connection).await.expect("it runs");
            connection.close().await.expect("it is closed");
            done.rows_affected()
        }
    }

    /// The first column of what a query finds: text.
    ///
    /// # Panics
    /// If it fails, or the column is something else.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        if let Some(database) = self.postgres() {
            let mut connection = PgConnection::connect(database.url()).await.expect("it can be reached");
            let rows = query.fetch_all(&mut connection).await.expect("it runs");
            connection.close().await.expect("it is closed");
            rows.iter().map(|row| row.get(0)).collect()
        } else {
            let mut connection = self.sqlite().await;
            let rows = query.fetch_all(&mut connection).await.expect("it runs");
            connection.close().await.expect("it is closed");
            rows.iter().map(|row| row.get(0)).collect()
        }
    }

    async fn sqlite(&self) -> SqliteConnection {
        let url = format!("sqlite://{}", self.data_dir().join("tokend.db").display());
        SqliteConnection::connect(&url).await.expect("it can be opened")
    }

    /// The names of a table's columns.
    pub async fn columns(&self, table: &str) -> Vec<String> {
        if self.postgres().is_some() {
            let query = "SELECT column_name::text FROM information_schema.columns WHERE table_name =";
            self.texts(&format!("{query} '{table}'")).await
        } else {
            self.texts(&format!("SELECT name FROM pragma_table_info('{table}')")).await
        }
    }
}
