//! An outage of the database does not fill the log.

use std::time::{Duration, Instant};

use tokend_tests::{Installation, Server, eventually, http, on_postgres, question, token_in};
use tokio::task::JoinSet;
use tonic::Code;

on_postgres!(an_outage_is_logged_at_a_bounded_rate);

/// The least time between two lines about one outage.
const INTERVAL: Duration = Duration::from_secs(5);

/// Returns the log lines with this text.
fn lines_with(server: &Server, text: &str) -> Vec<String> {
    let log = server.process().stderr();
    log.lines()
        .filter(|line| line.contains(text))
        .map(str::to_owned)
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "this is about lines per time")]
async fn an_outage_is_logged_at_a_bounded_rate(installation: Installation) {
    const ROUNDS: usize = 2;
    const CALLS_AT_ONCE: usize = 20;
    /// A line of the store about an outage. Background jobs that fail because of it have lines of their own.
    const OUTAGE: &str = "the database is not available source=";
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let question = question(&token.secret, &acme, &["repository"]);
    let before = server.process().stderr().lines().count();
    let database = installation.postgres().expect("the database is PostgreSQL");

    let begin = Instant::now();
    database.cut_off();
    eventually("the server is not ready", async || {
        (http::get(server.ops_address(), "/readyz").0 == 503).then_some(())
    })
    .await;
    // Each call waits for a connection to the database.
    for _ in 0..ROUNDS {
        let mut calls = JoinSet::new();
        for _ in 0..CALLS_AT_ONCE {
            let (client, question) = (server.admin().clone(), question.clone());
            calls.spawn(async move { client.token_verify().verify(question).await });
        }
        while let Some(verdict) = calls.join_next().await {
            let verdict = verdict.expect("the task does not panic");
            let code = verdict.expect_err("the database is cut off").code();
            assert_eq!(code, Code::Unavailable);
        }
    }
    eventually("the log has the number of omitted lines", async || {
        let _ = server.admin().token_verify().verify(question.clone()).await;
        (lines_with(&server, OUTAGE).len() >= 2).then_some(())
    })
    .await;
    let outage = lines_with(&server, OUTAGE);
    let intervals = usize::try_from(begin.elapsed().as_secs() / INTERVAL.as_secs()).expect("the duration is short");
    assert!(outage.len() <= 1 + intervals, "{outage:#?}");
    assert!(outage[0].contains("more=0"), "{outage:#?}");
    assert!(
        outage[1..].iter().any(|line| !line.contains("more=0")),
        "the log counts the omitted lines: {outage:#?}"
    );
    let log = server.process().stderr();
    let all: Vec<_> = log.lines().skip(before).collect();
    assert!(all.len() < ROUNDS * CALLS_AT_ONCE, "{} lines:\n{log}", all.len());
    database.restore();
}
