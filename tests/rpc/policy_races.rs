//! A policy applies from its update time on, also to tokens that are created concurrently.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokend_client::v1::{CreateTokenRequest, TokenPolicy, create_token_request::Expiry};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(a_concurrent_creation_does_not_bypass_a_policy);

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// Sets and removes a policy while several clients create tokens, on PostgreSQL through two servers: no token that
/// the policy forbids is created while it applies.
async fn a_concurrent_creation_does_not_bypass_a_policy(installation: Installation) {
    const EDITS: usize = 10;
    let server = installation.start().await;
    let replica = if installation.postgres().is_some() {
        Some(installation.serve(server.admin_key()).await)
    } else {
        None
    };
    let initech = server.organization("initech").await;
    let workspaces = [
        server.workspace_in("acme", &initech).await,
        server.workspace_in("beta", &initech).await,
    ];
    let running = Arc::new(AtomicBool::new(true));
    let mut creations = Vec::new();
    for n in 0..4 {
        let server = replica.as_ref().filter(|_| n < 2).unwrap_or(&server);
        let (client, running) = (server.client(server.admin_key()).await, Arc::clone(&running));
        let request = CreateTokenRequest {
            expiry: Some(Expiry::NoExpiry(true)),
            ..token_in(&workspaces[n % 2])
        };
        creations.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while running.load(Ordering::Relaxed) {
                match client.token_admin().create_token(request.clone()).await {
                    Ok(answer) => times.push(micros(answer.into_inner().token.expect("a token").create_time)),
                    Err(status) => assert!(
                        [Code::FailedPrecondition, Code::Unavailable].contains(&status.code()),
                        "{status:?}"
                    ),
                }
            }
            times
        }));
    }
    let policy = |require_expiry| TokenPolicy {
        name: format!("{initech}/tokenPolicy"),
        require_expiry,
        ..Default::default()
    };
    let set = async |require_expiry| {
        micros(
            server
                .set_policy(policy(require_expiry))
                .await
                .policy
                .expect("a policy")
                .update_time,
        )
    };
    let mut spans = Vec::new();
    for _ in 0..EDITS {
        spans.push([set(true).await, set(false).await]);
    }
    running.store(false, Ordering::Relaxed);
    for creation in creations {
        for created in creation.await.expect("the task does not panic") {
            let within = spans.iter().find(|[from, to]| *from < created && created < *to);
            assert_eq!(within, None, "created at {created}");
        }
    }
}
