//! A background job that panics is restarted and works again, and the metrics record it.

use std::time::Duration;

use tokend_client::v1::Decision;
use tokend_tests::{Installation, Server, eventually, http, on_both_databases, question, token_in};

on_both_databases!(a_job_that_panicked_is_restarted);

/// The jobs that constantly read the clock.
const WITH_A_CLOCK: [&str; 3] = ["expiry_notices", "token_retention", "usage"];

async fn a_job_that_panicked_is_restarted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let jobs = values(&server, "tokend_background_job_up");
    // The feed is followed on PostgreSQL only.
    let with_a_clock: Vec<_> = WITH_A_CLOCK
        .into_iter()
        .chain(installation.postgres().map(|_| "follow_feed"))
        .collect();
    for job in ["audit_checkpoints", "keyring", "memory_upkeep", "ops", "readiness"]
        .iter()
        .chain(&with_a_clock)
    {
        assert!(jobs.contains(&((*job).to_owned(), 1)), "{job} in {jobs:?}");
    }

    installation.clock().panic_quoting("a defect");
    let all_are_down = async || {
        let jobs = values(&server, "tokend_background_job_up");
        with_a_clock
            .iter()
            .all(|job| jobs.contains(&((*job).to_owned(), 0)))
            .then_some(())
    };
    eventually("the jobs that read the clock wait for their restart", all_are_down).await;
    installation.clock().set_right();
    let all_are_up = async || {
        let jobs = values(&server, "tokend_background_job_up");
        jobs.iter().all(|(_, up)| *up == 1).then_some(())
    };
    eventually("every job runs again", all_are_up).await;
    let restarts = values(&server, "tokend_background_job_restarts_total");
    assert!(restarts.len() >= 7, "{restarts:?}");
    for (job, restarts) in &restarts {
        assert_eq!(*restarts > 0, with_a_clock.contains(&job.as_str()), "{job}: {restarts}");
    }

    // The restarted job works again.
    let question = question(&token.secret, &acme, &["repository"]);
    assert_eq!(server.verdict(question).await.decision(), Decision::Allow);
    installation.clock().set_ahead(Duration::from_secs(60));
    let is_recorded = async || server.get_token(&token.public.name).await.last_used_time;
    eventually("the use is recorded", is_recorded).await;
    let finished = server.stop().await;
    assert!(finished.status.success());
    let log = finished.stderr;
    assert!(
        log.contains("a background job failed") && log.contains("a background job restarts"),
        "{log}"
    );
}

/// Returns the value of a metric for each job.
fn values(server: &Server, metric: &str) -> Vec<(String, u64)> {
    let metrics = http::get(server.ops_address(), "/metrics").1;
    let values = metrics.lines().filter_map(|line| {
        let (job, value) = line.strip_prefix(metric)?.strip_prefix("{job=\"")?.split_once("\"} ")?;
        Some((job.to_owned(), value.parse().ok()?))
    });
    values.collect()
}
