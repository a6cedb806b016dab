//! Faults of PostgreSQL itself.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokend_tests::eventually;
use tokio::time::{sleep, timeout};

use crate::{lab::Lab, random::Random};

/// The pause between two purges: less than between two polls of a server that polls seldom.
const PURGE_PAUSE: Duration = Duration::from_millis(100);

/// Calls a function of PostgreSQL for some of the backends that serve tokend. Returns whether there were any.
pub(super) async fn signal_backends(lab: &Lab, random: &mut Random, function: &str) -> bool {
    let Some(database) = lab.cluster.database() else {
        return false;
    };
    let Ok(mut connection) = PgConnection::connect(&database.url()).await else {
        return false;
    };
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tokend%' ORDER BY pid";
    let pids: Vec<i32> = sqlx::query_scalar(backends)
        .fetch_all(&mut connection)
        .await
        .unwrap_or_default();
    let mut is_injected = false;
    for _ in 0..=random.below(4) {
        let Some(pid) = random.of(&pids) else { break };
        let statement = AssertSqlSafe(format!("SELECT {function}({pid})"));
        is_injected |= sqlx::raw_sql(statement).execute(&mut connection).await.is_ok();
    }
    // The database may have crashed meanwhile.
    let _ = connection.close().await;
    is_injected
}

/// Cancels statements of backends, again and again for a while.
pub(super) async fn cancel_backends(lab: &Lab, random: &mut Random) -> bool {
    let mut is_injected = false;
    for _ in 0..=random.below(20) {
        is_injected |= signal_backends(lab, random, "pg_cancel_backend").await;
        sleep(random.millis(0, 100)).await;
    }
    is_injected
}

/// Purges all entries of the feed but the newest one, again and again. A server that has not read them has to begin anew.
pub(super) async fn purge_feed(lab: &Lab, span: Duration) -> bool {
    let Some(database) = lab.cluster.database() else {
        return false;
    };
    let Ok(mut connection) = PgConnection::connect(&database.url()).await else {
        return false;
    };
    let purge = "DELETE FROM feed_log WHERE revision < (SELECT revision FROM feed)";
    let purging = async {
        while sqlx::query(purge).execute(&mut connection).await.is_ok() {
            sleep(PURGE_PAUSE).await;
        }
    };
    // It ends earlier only if the database crashes.
    let _ = timeout(span, purging).await;
    true
}

/// Kills one backend, so that PostgreSQL ends all connections at once and recovers from its log. Returns whether it did.
pub(super) async fn crash(lab: &Lab) -> bool {
    let Some(database) = lab.cluster.database() else {
        return false;
    };
    let Ok(mut connection) = PgConnection::connect(&database.url()).await else {
        return false;
    };
    let Ok(own) = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut connection)
        .await
    else {
        return false;
    };
    let killed = Pid::from_raw(own).map(|pid| kill_process(pid, Signal::KILL));
    assert_eq!(killed, Some(Ok(())), "the backend of this connection is killed");
    drop(connection);
    eventually("PostgreSQL has recovered", async || {
        database.number("SELECT count(*) FROM feed").await
    })
    .await;
    true
}
