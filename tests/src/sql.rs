//! What somebody does who gets at the database past the program.

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

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
            let url = format!("sqlite://{}", self.data_dir().join("tokend.db").display());
            let mut connection = SqliteConnection::connect(&url).await.expect("it can be opened");
            let done = statements.execute(&mut connection).await.expect("it runs");
            connection.close().await.expect("it is closed");
            done.rows_affected()
        }
    }
}
