//! A server warns, once, when PostgreSQL has standbys and COMMIT waits for none of them.

use tokend_tests::{Installation, Server, eventually, http, on_postgres, postgres::Node};

on_postgres!(asynchronous_replication_is_warned_of);

const WARNING: &str = "asynchronous replication";
const ALL_CLEAR: &str = "no standby can be promoted any more that lacks acknowledged changes";

fn count(server: &Server, text: &str) -> usize {
    server.process().stderr().matches(text).count()
}

/// Waits until the server has looked twice more and found this.
async fn finds(server: &Server, replication: &str) {
    let line = format!("looked at the replication of the database replication={replication}");
    let before = count(server, &line);
    eventually("the server looks at the replication", async || {
        (count(server, &line) >= before + 2).then_some(())
    })
    .await;
}

async fn logs(server: &Server, text: &str, times: usize) {
    eventually("the line is logged", async || {
        (count(server, text) == times).then_some(())
    })
    .await;
}

fn asynchronous_standbys(server: &Server) -> String {
    let metrics = http::get(server.ops_address(), "/metrics").1;
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("tokend_asynchronous_standbys "));
    values.next().expect("the metric is there").to_owned()
}

/// The user is unprivileged, and sees little of the connections of standbys.
async fn asynchronous_replication_is_warned_of(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    primary.execute("CREATE ROLE tokend LOGIN");
    primary.execute("CREATE DATABASE tokend OWNER tokend ENCODING 'UTF8' TEMPLATE template0");
    let installation = installation.on_database(format!("postgres://tokend@{}/tokend", primary.address()));
    let server = installation.start_with(["--log", "debug"]).await;
    finds(&server, "NoStandby").await;
    assert_eq!(
        (count(&server, WARNING), asynchronous_standbys(&server).as_str()),
        (0, "0")
    );

    let _standby = primary.standby();
    logs(&server, WARNING, 1).await;
    finds(&server, "Asynchronous").await;
    assert_eq!(
        (count(&server, WARNING), asynchronous_standbys(&server).as_str()),
        (1, "1")
    );
    let warning = server.process().stderr();
    let warning = warning
        .lines()
        .find(|line| line.contains(WARNING))
        .expect("the line is there");
    for text in ["WARN", "standbys=1", "synchronous_standby_names", "docs/failover.md"] {
        assert!(warning.contains(text), "{text} in {warning}");
    }

    primary.set("synchronous_standby_names", Some("*"));
    logs(&server, ALL_CLEAR, 1).await;
    finds(&server, "Synchronous").await;
    assert_eq!(
        (count(&server, WARNING), asynchronous_standbys(&server).as_str()),
        (1, "0")
    );

    // COMMIT does not wait for the standby either.
    primary.set("synchronous_commit", Some("local"));
    logs(&server, WARNING, 2).await;
    finds(&server, "Asynchronous").await;
    assert_eq!((count(&server, WARNING), count(&server, ALL_CLEAR)), (2, 1));
}
