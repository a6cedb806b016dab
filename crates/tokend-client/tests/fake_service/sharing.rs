//! Verifications at the same time.

use std::time::Duration;

use futures_util::future::join_all;
use tokend_client::{guard::TokenGuard, v1::DenyReason};

use crate::fake::{Fake, RESOURCE, SECRET, at, eventually, verify};

fn spawn(guard: &TokenGuard) -> tokio::task::JoinHandle<Result<(), &'static str>> {
    let guard = guard.clone();
    tokio::spawn(async move { verify(&guard).await })
}

#[tokio::test]
async fn a_burst_of_requests_with_one_token_is_a_call_or_two() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    fake.service.close().await;
    let burst: Vec<_> = (0..100).map(|_| spawn(&guard)).collect();
    eventually("all have asked", async || (guard.stats().misses == 100).then_some(())).await;
    fake.service.open();
    for outcome in join_all(burst).await {
        assert_eq!(outcome.expect("no panic"), Ok(()));
    }
    assert!(fake.service.calls() <= 2, "{} calls", fake.service.calls());
}

/// Other questions about the same token share the call as well, if its answer is enough.
#[tokio::test]
async fn questions_about_one_token_share_a_call_if_the_answer_is_enough() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    fake.service.close().await;
    let asks = (0..20).map(|number| {
        let guard = guard.clone();
        tokio::spawn(async move {
            let resource = format!("workspaces/acme/repositories/r{number}");
            guard.verify(SECRET, &resource, &["repository"], None).await.map(|_| ())
        })
    });
    let asks: Vec<_> = asks.collect();
    eventually("all have asked", async || (guard.stats().misses == 20).then_some(())).await;
    fake.service.open();
    for outcome in join_all(asks).await {
        outcome.expect("no panic").expect("allowed");
    }
    assert!(fake.service.calls() <= 2, "{} calls", fake.service.calls());
}

/// The promise: a verification that starts after the token was revoked is not answered by a call that was sent before.
/// There is no lease here, so that only the sharing of calls is left.
#[tokio::test]
async fn nobody_is_answered_by_a_call_from_before_the_question() {
    let fake = Fake::start().await;
    fake.service.set_lease(Some(Duration::ZERO));
    let guard = fake.guard().await;
    fake.service.close().await;
    let early = spawn(&guard);
    eventually("the call has read its answer", async || {
        (fake.service.calls() == 1).then_some(())
    })
    .await;
    fake.service.deny(SECRET, DenyReason::Revoked);
    fake.service.set_revision(at(4));
    let late: Vec<_> = (0..10).map(|_| spawn(&guard)).collect();
    eventually("all have asked", async || (guard.stats().misses == 11).then_some(())).await;
    fake.service.open();
    assert_eq!(early.await.expect("no panic"), Ok(()), "it began before");
    for outcome in join_all(late).await {
        assert_eq!(outcome.expect("no panic"), Err("revoked"));
    }
    assert_eq!(fake.service.calls(), 2);
}

#[tokio::test]
async fn whoever_gives_up_does_not_end_the_others_call() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    fake.service.close().await;
    let first = spawn(&guard);
    eventually("the call is under way", async || {
        (fake.service.calls() == 1).then_some(())
    })
    .await;
    let second = spawn(&guard);
    eventually("both have asked", async || (guard.stats().misses == 2).then_some(())).await;
    first.abort();
    fake.service.open();
    assert_eq!(second.await.expect("no panic"), Ok(()));
    assert_eq!(fake.service.calls(), 1, "the cache has the answer");
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up_in_time() {
    let fake = Fake::start().await;
    let guard = TokenGuard::builder(&fake.client().await)
        .deadline(Duration::from_millis(300))
        .start();
    fake.service.close().await;
    let asks = join_all((0..3).map(|_| verify(&guard)));
    let outcomes = tokio::time::timeout(Duration::from_secs(20), asks)
        .await
        .expect("given up");
    assert_eq!(outcomes, [Err("unavailable"); 3]);
    let again = guard.verify(SECRET, RESOURCE, &["repository"], None).await;
    assert_eq!(again.expect_err("given up").kind().as_str(), "unavailable");
}
