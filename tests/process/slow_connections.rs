//! Connections to PostgreSQL are established even if that takes longer than a call waits for a connection.

use std::{fs, net::SocketAddr, time::Duration};

use tokend_client::v1::{Decision, ListCallersRequest};
use tokend_tests::{Installation, Proxy, eventually, http, on_postgres, question, token_in};

on_postgres!(
    a_slow_connection_is_established_and_replaced,
    a_command_other_than_serve_waits_longer
);

/// Longer than a call waits for a connection.
const SLOW: Duration = Duration::from_secs(1);
/// Longer than a server waits for a new connection.
const SLOWER: Duration = Duration::from_secs(6);

/// Returns a proxy for the installation's database, and the installation that uses it.
fn behind_a_proxy(installation: Installation, delay: Duration) -> (Proxy, Installation) {
    let url = installation
        .postgres()
        .expect("the database is PostgreSQL")
        .url()
        .to_owned();
    let (scheme, rest) = url.split_once("@").expect("the URL has a user");
    let (address, database) = rest.split_once('/').expect("the URL has a database");
    let address: SocketAddr = address.parse().expect("the address is valid");
    let proxy = Proxy::start(address, delay);
    let url = format!("{scheme}@{}/{database}", proxy.address());
    (proxy, installation.on_database(url))
}

async fn a_slow_connection_is_established_and_replaced(installation: Installation) {
    let (proxy, installation) = behind_a_proxy(installation, SLOW);
    // Calls have long deadlines, but the default wait for a connection.
    let config = installation.directory().join("hasty.toml");
    fs::write(
        &config,
        "[limits]\nverify_deadline_ms = 30000\nadmin_deadline_ms = 30000",
    )
    .expect("the file is written");
    let server = installation
        .start_with(["--config", config.to_str().expect("the path is UTF-8")])
        .await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let question = question(&token.secret, &acme, &["repository"]);
    assert_eq!(server.verdict(question.clone()).await.decision(), Decision::Allow);

    // Each call waits for a quarter of a second. A later call uses the connection that it requested.
    proxy.cut();
    eventually("the server verifies again", async || {
        server.admin().token_verify().verify(question.clone()).await.ok()
    })
    .await;
    eventually("the server lists again", async || {
        server
            .admin()
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await
            .ok()
    })
    .await;
    eventually("the server is ready", async || {
        (http::get(server.ops_address(), "/readyz").0 == 200).then_some(())
    })
    .await;
    assert_eq!(
        server
            .revoke(&token.public.name)
            .await
            .token
            .expect("the response has the token")
            .name,
        token.public.name
    );
}

async fn a_command_other_than_serve_waits_longer(installation: Installation) {
    installation.init().await;
    let (_proxy, installation) = behind_a_proxy(installation, SLOWER);
    installation.run_on_data(["migrate", "status"]).await.succeeded();
}
