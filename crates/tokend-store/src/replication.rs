//! Whether COMMIT waits for a standby.

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::{error::StoreError, shared::Shared, store::Store};

/// What a failover to a standby would do to commits that the database has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// The database has no standbys. Always on SQLite.
    NoStandby,
    /// COMMIT waits for a standby, which then has everything that was acknowledged.
    Synchronous,
    /// COMMIT waits for none of the standbys. A failover can lose what was acknowledged last.
    Asynchronous {
        /// The number of standbys that are connected.
        standbys: u32,
    },
}

impl Store {
    /// Returns whether the database has standbys, and whether the commits of this store wait for one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replication(&self) -> Result<Replication, StoreError> {
        self.run(|shared| async move { replication(&shared).await }).await
    }
}

async fn replication(shared: &Shared) -> Result<Replication, StoreError> {
    // A user without privileges sees no more of another user's row than its process and its application. The two
    // programs that are left out copy a server, and nothing that they write is promoted.
    const QUERY: &str = "SELECT (SELECT count(*) FROM pg_catalog.pg_stat_replication \
                         WHERE coalesce(application_name, '') NOT IN ('pg_basebackup', 'pg_receivewal')) AS standbys, \
                         (current_setting('synchronous_standby_names') <> '' \
                         AND current_setting('synchronous_commit') NOT IN ('local', 'off')) AS commits_wait";
    if shared.is_sqlite() {
        return Ok(Replication::NoStandby);
    }
    let statement = Statement::from_string(DbBackend::Postgres, QUERY);
    let Some(row) = shared.connection.query_one_raw(statement).await? else {
        return Ok(Replication::NoStandby);
    };
    let standbys: i64 = row.try_get("", "standbys")?;
    let commits_wait: bool = row.try_get("", "commits_wait")?;
    Ok(match u32::try_from(standbys).unwrap_or(u32::MAX) {
        0 => Replication::NoStandby,
        _ if commits_wait => Replication::Synchronous,
        standbys => Replication::Asynchronous { standbys },
    })
}
