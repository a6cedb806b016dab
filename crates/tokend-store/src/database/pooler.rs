//! Checks that a connection pooler keeps the prepared statements of its clients apart.
//!
//! In transaction mode, consecutive transactions of one client run in different sessions of PostgreSQL, and one session
//! runs the transactions of many clients. The driver numbers the prepared statements of each connection: all clients
//! use the same names. PgBouncer keeps them apart since version 1.21 if `max_prepared_statements` is not 0: it gives
//! each statement a name of its own, and prepares it in every session in which it is used. An older one passes the
//! names on. Then preparing a statement fails because the name is taken, or the statement does not exist in the session
//! that is to run it, or, worst of all, another client's statement runs in its place.
//!
//! The check does what goes wrong then. Several clients each prepare a statement of their own, under the same name, and
//! run it by turns. Each answers to which client it belongs and which session ran it:
//!
//! - An error about the name, or another client's answer, proves that the pooler mixes statements up. This can't happen
//!   to clients that have a session each, so there is no false alarm.
//! - Two clients that prepared their statements in one session and can still run them, or a client whose statement ran
//!   in a session other than the one that it was prepared in, prove that the pooler keeps statements apart.
//! - If neither happens, each client has a session of its own (session mode), and there is nothing to mix up.
//!
//! PgBouncer gives a transaction the session that became free last, so that the second client gets the session of the
//! first. With `server_round_robin` it gives the one that has been free for the longest time: therefore the turns are
//! uneven. Behind one address there may be several processes, each with sessions of its own: therefore there are
//! several clients.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, PgConnection, Row, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::error::{
    PoolerProblem,
    driver_error::{is_of_mixed_up_statements, pooler_problem, timed_out},
};

/// The number of clients.
const CLIENTS: usize = 8;
/// How long the check may take. Only a pooler that has too few sessions makes it take longer than a moment.
const LIMIT: Duration = Duration::from_secs(5);

/// A client with its own prepared statement.
struct Client {
    connection: PgConnection,
    /// What the statement answers. No other statement does: neither that of another client, nor one that an earlier
    /// check has left in a session.
    answer: String,
    /// The session in which the statement was prepared.
    prepared_in: i32,
}

/// Checks a pooler, with connections by `options`. Returns whether the check was complete: a pooler may have too few
/// connections or sessions for it, which says nothing about statements, and is logged.
pub(super) async fn check(options: &PgConnectOptions) -> Result<bool, PoolerProblem> {
    let no_answer = || Err(timed_out(format!("no answer within {LIMIT:?}")));
    let checked = timeout(LIMIT, compare_clients(options));
    let Err(error) = checked.await.unwrap_or_else(|_| no_answer()) else {
        return Ok(true);
    };
    if let Some(problem) = pooler_problem(&error) {
        return Err(problem);
    }
    tracing::warn!(
        %error,
        "could not check whether the connection pooler mixes up prepared statements; is its pool too small?"
    );
    Ok(false)
}

/// Compares a first client with others until it is certain that the pooler keeps statements apart, or that clients do
/// not share sessions.
async fn compare_clients(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut clients = vec![Client::connect(options).await?];
    while clients.len() < CLIENTS {
        let mut new = Client::connect(options).await?;
        let mut is_shared = clients.iter().any(|client| client.prepared_in == new.prepared_in);
        for is_turn_of_new in [false, true, true, false] {
            let client = if is_turn_of_new { &mut new } else { &mut clients[0] };
            is_shared |= client.run().await? != client.prepared_in;
        }
        clients.push(new);
        if is_shared {
            break;
        }
    }
    for client in clients {
        client.connection.close().await?;
    }
    Ok(())
}

impl Client {
    /// Connects a client, and prepares and runs its statement, in one transaction and so in one session.
    async fn connect(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let mut connection = options.connect().await?;
        let answer = "SELECT 'tokend-' || gen_random_uuid()";
        let answer = sqlx::raw_sql(answer).fetch_one(&mut connection).await?.try_get(0)?;
        let mut client = Self {
            connection,
            answer,
            prepared_in: 0,
        };
        let begun = sqlx::raw_sql("BEGIN").execute(&mut client.connection).await;
        begun.map_err(meaning)?;
        client.prepared_in = client.run().await?;
        sqlx::raw_sql("COMMIT").execute(&mut client.connection).await?;
        Ok(client)
    }

    /// Runs the statement, which is prepared the first time, and returns the session that ran it.
    async fn run(&mut self) -> Result<i32, sqlx::Error> {
        let statement = AssertSqlSafe(format!("SELECT pg_backend_pid(), '{}'", self.answer));
        let found = sqlx::query(statement).fetch_one(&mut self.connection).await;
        let found = found.map_err(meaning)?;
        if found.try_get::<String, _>(1).is_ok_and(|answer| answer == self.answer) {
            found.try_get(0)
        } else {
            Err(PoolerProblem::MixesUpStatements.into())
        }
    }
}

/// Returns the error as what it says about the pooler, if it says something.
fn meaning(error: sqlx::Error) -> sqlx::Error {
    if matches!(error, sqlx::Error::RowNotFound) || is_of_mixed_up_statements(&error) {
        PoolerProblem::MixesUpStatements.into()
    } else if is_of_statement_mode(&error) {
        PoolerProblem::NoTransactions.into()
    } else {
        error
    }
}

/// Returns whether PgBouncer rejected a transaction because each statement is one (`pool_mode = statement`).
fn is_of_statement_mode(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().contains("statement pooling mode"))
}
