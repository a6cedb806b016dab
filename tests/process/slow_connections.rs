//! Connections to PostgreSQL that take longer to establish than a call may wait for one are established nevertheless.

use std::{fs, net::SocketAddr, time::Duration};

use tokend_client::v1::{Decision, ListCallersRequest};
use tokend_tests::{Installation, Proxy, eventually, http, on_postgres, question, token_in};

on_postgres!(a_slow_connection_is_established_and_replaced, a_command_that_serves_nobody_waits_longer);

/// More than a call waits for a connection.
const SLOW: Duration = Duration::from_secs(1);
/// More than a server waits for one to be established.
const SLOWER: Duration = Duration::from_secs(6);

/// A proxy before the installation's database, and the installation with its database behind it.
fn behind_a_proxy(installation: Installation, delay: Duration) -> (Proxy, Installation) {
    let url = installation.postgres().expect("it is on PostgreSQL").url().to_owned();
    let (scheme, rest) = url.split_once("@").expect("it has a user");
    let (address, database) = rest.split_once('/').expect("it has a database");
    let address: SocketAddr = address.parse().expect("the server is on this machine");
    let proxy = Proxy::start(address, delay);
    let url = format!("{scheme}@{}/{database}", proxy.address());
    (proxy, installation.on_database(url))
}

async fn a_slow_connection_is_established_and_replaced(installation: Installation) {
    let (proxy, installation) = behind_a_proxy(installation, SLOW);
    // Calls may take their time, but not wait longer for a connection than they do by default.
    let config = installation.directory().join("hasty.toml");
    fs::write(&config, "[limits]\nverify_deadline_ms = 30000\nadmin_deadline_ms = 30000").expect("it can be written");
    let server = installation.start_with(["--config", config.to_str().expect("a path that is text")]).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let question = question(&token.secret, &acme, &["repository"]);
    assert_eq!(server.verdict(question.clone()).await.decision(), Decision::Allow);

    // Each call waits for a quarter of a second; the connection that it asked for is there for a later one.
    proxy.cut();
    eventually("it verifies again", async || server.admin().token_verify().verify(question.clone()).await.ok()).await;
    eventually("it lists again", async || server.admin().caller_admin().list_callers(ListCallersRequest::default()).await.ok())
        .await;
    eventually("it is ready", async || (http::get(server.ops_address(), "/readyz").0 == 200).then_some(())).await;
    assert_eq!(server.revoke(&token.public.name).await.token.expect("it is told").name, token.public.name);
}

async fn a_command_that_serves_nobody_waits_longer(installation: Installation) {
    installation.init().await;
    let (_proxy, installation) = behind_a_proxy(installation, SLOWER);
    installation.run_on_data(["migrate", "status"]).await.succeeded();
}
