//! The cluster of docs/failover.md, with its configuration: Patroni fails over and switches over under load.

use std::{fs, path::Path, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokend_tests::{Installation, Process, postgres::Patroni};
use tokio::time::{sleep, timeout};

use crate::{
    failover::{init, serve},
    revocation_load::Load,
    standby::{becomes_not_ready, becomes_ready},
};

mod postgres {
    use tokend_tests::Storage;

    #[test]
    fn patroni_fails_over_and_switches_over() {
        let program = env!("CARGO_BIN_EXE_tokend-under-test");
        tokend_tests::run_within(super::LIMIT, program, Storage::Postgres, super::scenario);
    }
}

/// Longer than the other tests: Patroni takes its time to notice that a member is gone.
const LIMIT: Duration = Duration::from_secs(480);
/// More than a cluster takes to elect a primary, or to connect a standby, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(500);

/// Returns the first block of the documentation in this language.
fn documented(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/failover.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let (_, block) = page
        .split_once(&format!("```{language}\n"))
        .expect("the page has such a block");
    block.split_once("```").expect("the block ends").0.to_owned()
}

/// Waits until the roles of both members are these, for longer than other conditions take. An empty role is any.
async fn roles_become(cluster: &Patroni, expected: [&str; 2]) {
    let roles_are_right = async {
        loop {
            let listed = Process::spawn(cluster.patronictl(&["list", "--format", "tsv"]), "");
            let listed = listed.finish().await.stdout;
            let has_role = |(member, role): (usize, &str)| {
                role.is_empty()
                    || listed.lines().any(|line| {
                        let mut columns = line.split('\t');
                        columns.any(|column| column == cluster.name(member)) && columns.any(|column| column == role)
                    })
            };
            if expected.into_iter().enumerate().all(has_role) {
                return;
            }
            sleep(POLL).await;
        }
    };
    let done = timeout(PATIENCE, roles_are_right).await;
    assert!(done.is_ok(), "the roles are not {expected:?}:\n{}", cluster.logs());
}

/// Runs the documented statements on the first member.
async fn create_database(cluster: &Patroni) {
    let address = cluster.address(0);
    let url = format!("postgres://postgres:SUPERUSER-PASSWORD@{address}/postgres");
    let mut connection = PgConnection::connect(&url).await.expect("the server is reachable");
    for statement in documented("sql").split_inclusive(';') {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut connection).await.expect("the statement runs");
    }
    connection.close().await.expect("the connection closes");
}

async fn scenario(installation: Installation) {
    let Some(mut cluster) = Patroni::create(&documented("yaml")) else {
        return;
    };
    cluster.run(0);
    roles_become(&cluster, ["Leader", ""]).await;
    cluster.run(1);
    roles_become(&cluster, ["Leader", "Sync Standby"]).await;
    create_database(&cluster).await;
    let url = cluster.with_addresses(documented("text").trim());
    let installation = installation.on_database(url);
    let admin_key = init(&installation).await;
    let one = serve(&installation, &admin_key).await;
    let other = serve(&installation, &admin_key).await;
    let load = Load::start(&[&one, &other]).await;
    load.makes_progress().await;

    cluster.crash(0);
    becomes_not_ready(&one).await;
    becomes_not_ready(&other).await;
    load.sees_an_outage().await;
    roles_become(&cluster, ["", "Leader"]).await;
    becomes_ready(&one).await;
    becomes_ready(&other).await;
    load.makes_progress().await;

    cluster.run(0);
    roles_become(&cluster, ["Sync Standby", "Leader"]).await;
    let switchover = ["switchover", "--leader", "pg2", "--candidate", "pg1", "--force"];
    Process::spawn(cluster.patronictl(&switchover), "")
        .finish()
        .await
        .succeeded();
    roles_become(&cluster, ["Leader", ""]).await;
    becomes_ready(&one).await;
    becomes_ready(&other).await;
    load.makes_progress().await;
    load.has_lost_nothing(&installation, &[&one, &other]).await;
}
