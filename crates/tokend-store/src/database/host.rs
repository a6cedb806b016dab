//! One server that the URL names: PostgreSQL itself, or a connection pooler in front of it.
//!
//! A connection to PostgreSQL gets settings that last as long as the session. A pooler such as PgBouncer rejects or
//! drops them, because several clients share its sessions. So a connection also sets a mark, a parameter that nobody
//! else sets. If the mark is missing, there is a pooler: then the connection sets nothing, and before it is used, it is
//! checked once that the pooler keeps the prepared statements of its clients apart ([`pooler`]).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgConnection, Row,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

use super::{connection::check_primary, pooler};
use crate::error::{PoolerProblem, driver_error::timed_out};

/// The mark of a connection whose settings PostgreSQL itself has received: a parameter and its value.
const MARK: (&str, &str) = ("tokend.connection", "direct");

/// One server, and how to connect to it.
pub(super) struct Host {
    /// Sets parameters of the session.
    direct: PgConnectOptions,
    /// Sets no parameter that lasts as long as a session.
    pooled: PgConnectOptions,
    /// Whether the URL or the environment sets parameters of the session.
    has_parameters: bool,
    /// Whether there is a pooler.
    is_pooler: AtomicBool,
    /// Whether the pooler has passed its check.
    is_checked: AtomicBool,
}

impl Host {
    /// `options` is what the URL and the environment say.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let has_parameters = options.get_options().is_some_and(|options| !options.trim().is_empty());
        // The driver would set a number of digits, which PgBouncer rejects and which is for floating-point numbers only.
        let pooled = options.application_name("tokend").extra_float_digits(None);
        Self {
            direct: pooled.clone().options([MARK]),
            pooled,
            has_parameters,
            is_pooler: AtomicBool::default(),
            is_checked: AtomicBool::default(),
        }
    }

    /// Sets a parameter of every session, except behind a pooler.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.direct = self.direct.clone().options([(name, value)]);
    }

    /// Opens a connection, which takes at most `limit`. The first connection through a pooler takes longer: before it,
    /// the pooler is checked.
    pub(super) async fn connect(&self, limit: Duration, for_writing: bool) -> Result<PgConnection, sqlx::Error> {
        let opening = async {
            let mut connection = self.open().await?;
            if for_writing {
                check_primary(&mut connection).await?;
            }
            Ok(connection)
        };
        let no_answer = || Err(timed_out(format!("no answer within {limit:?}")));
        let connection = timeout(limit, opening).await.unwrap_or_else(|_| no_answer())?;
        if self.is_pooler() && !self.is_checked.load(Ordering::Relaxed) {
            let is_checked = pooler::check(&self.pooled).await?;
            self.is_checked.store(is_checked, Ordering::Relaxed);
        }
        Ok(connection)
    }

    /// Returns whether there is a pooler, as far as is known.
    pub(super) fn is_pooler(&self) -> bool {
        self.is_pooler.load(Ordering::Relaxed)
    }

    /// Returns the address as text.
    pub(super) fn address(&self) -> String {
        match self.pooled.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.pooled.get_host(), self.pooled.get_port()),
        }
    }

    /// Returns the name of the database.
    pub(super) fn database(&self) -> &str {
        self.pooled.get_database().unwrap_or(self.pooled.get_username())
    }

    /// Returns whether connections go over TCP, where they can be read if they are not encrypted.
    pub(super) fn uses_tcp(&self) -> bool {
        self.pooled.get_socket().is_none() && !self.pooled.get_host().starts_with('/')
    }

    /// Returns whether a connection without TLS is rejected.
    pub(super) fn requires_tls(&self) -> bool {
        matches!(
            self.pooled.get_ssl_mode(),
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
        )
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        let mut opened = None;
        if !self.is_pooler() {
            match self.direct.connect().await {
                Ok(mut connection) => {
                    if has_mark(&mut connection).await? {
                        return Ok(connection);
                    }
                    opened = Some(connection);
                }
                Err(error) if rejects_parameters(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.has_parameters {
            return Err(PoolerProblem::DropsParameters.into());
        }
        self.is_pooler.store(true, Ordering::Relaxed);
        match opened {
            Some(connection) => Ok(connection),
            None => self.pooled.connect().await,
        }
    }
}

/// Returns whether PostgreSQL has received the parameters of the connection. The query is not a prepared statement,
/// because a pooler may mix these up.
async fn has_mark(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let query = "SELECT current_setting('tokend.connection', true)";
    let found = sqlx::raw_sql(query).fetch_one(connection).await?;
    Ok(found.try_get::<Option<String>, _>(0)?.as_deref() == Some(MARK.1))
}

/// Returns whether a pooler rejected the parameters of a session. PgBouncer does unless it is configured to ignore
/// them.
fn rejects_parameters(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.message().contains("unsupported startup parameter"))
}
