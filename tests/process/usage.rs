//! A server that is stopped stores pending usage. A server that crashes loses pending usage and nothing else.

use std::time::Duration;

use tokend_client::v1::{Decision, Token, VerifyRequest};
use tokend_tests::{Installation, Issued, Server, eventually, on_both_databases, question, token_in};

on_both_databases!(a_stopped_server_stores_pending_usage, a_crash_loses_only_pending_usage);

async fn use_from(server: &Server, token: &Issued<Token>, address: &str) {
    let question = VerifyRequest {
        client_address: address.to_owned(),
        ..question(&token.secret, "workspaces/acme/repositories/site", &["repository"])
    };
    assert_eq!(server.verdict(question).await.decision(), Decision::Allow);
}

async fn a_stopped_server_stores_pending_usage(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    // More than one batch.
    for _ in 0..300 {
        tokens.push(server.token(token_in(&acme)).await);
    }
    for token in &tokens {
        use_from(&server, token, "192.0.2.1").await;
    }
    use_from(&server, &tokens[0], "192.0.2.2").await;
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());

    let successor = installation.serve(&key).await;
    for (index, token) in tokens.iter().enumerate() {
        let token_view = successor.get_token(&token.public.name).await;
        let addresses: &[&str] = if index == 0 {
            &["192.0.2.2", "192.0.2.1"]
        } else {
            &["192.0.2.1"]
        };
        assert_eq!(token_view.last_used_addresses, addresses);
        assert!(token_view.last_used_time.is_some());
    }
}

async fn a_crash_loses_only_pending_usage(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    use_from(&server, &token, "192.0.2.1").await;
    let key = server.admin_key().to_owned();
    server.kill();

    let successor = installation.serve(&key).await;
    let token_view = successor.get_token(&token.public.name).await;
    let without_usage = Token {
        last_used_time: None,
        last_used_addresses: Vec::new(),
        ..token_view
    };
    assert_eq!(without_usage, token.public, "nothing else is lost");
    use_from(&successor, &token, "192.0.2.2").await;
    installation.clock().set_ahead(Duration::from_secs(60));
    eventually("use is recorded again", async || {
        let token_view = successor.get_token(&token.public.name).await;
        (token_view.last_used_addresses.first()? == "192.0.2.2").then_some(())
    })
    .await;
}
