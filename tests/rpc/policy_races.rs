//! A policy holds from the moment on that it is told to be set at, whatever is made at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokend_client::v1::{CreateTokenRequest, TokenPolicy, create_token_request::Expiry};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(no_token_is_made_behind_a_policys_back);

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("told");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// While tokens are made all the time, by two servers on PostgreSQL, a policy comes and goes: none that it refuses is made while it is there.
async fn no_token_is_made_behind_a_policys_back(installation: Installation) {
    const TIMES: usize = 10;
    let server = installation.start().await;
    let replica = if installation.postgres().is_some() { Some(installation.serve(server.admin_key()).await) } else { None };
    let initech = server.organization("initech").await;
    let workspaces = [server.workspace_in("acme", &initech).await, server.workspace_in("beta", &initech).await];
    let goes_on = Arc::new(AtomicBool::new(true));
    let mut makers = Vec::new();
    for n in 0..4 {
        let server = replica.as_ref().filter(|_| n < 2).unwrap_or(&server);
        let (client, goes_on) = (server.client(server.admin_key()).await, Arc::clone(&goes_on));
        let request = CreateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..token_in(&workspaces[n % 2]) };
        makers.push(tokio::spawn(async move {
            let mut made = Vec::new();
            while goes_on.load(Ordering::Relaxed) {
                match client.token_admin().create_token(request.clone()).await {
                    Ok(answer) => made.push(micros(answer.into_inner().token.expect("told").create_time)),
                    Err(status) => assert!([Code::FailedPrecondition, Code::Unavailable].contains(&status.code()), "{status:?}"),
                }
            }
            made
        }));
    }
    let policy = |require_expiry| TokenPolicy { name: format!("{initech}/tokenPolicy"), require_expiry, ..Default::default() };
    let set = async |require_expiry| micros(server.set_policy(policy(require_expiry)).await.policy.expect("told").update_time);
    let mut spans = Vec::new();
    for _ in 0..TIMES {
        spans.push([set(true).await, set(false).await]);
    }
    goes_on.store(false, Ordering::Relaxed);
    for maker in makers {
        for made in maker.await.expect("it does not panic") {
            let within = spans.iter().find(|[from, to]| *from < made && made < *to);
            assert_eq!(within, None, "made at {made}");
        }
    }
}
