//! What is answered from the cache, and when it is not.

use std::time::Duration;

use tokend_client::{guard::TokenGuard, v1::DenyReason};
use tonic::Status;

use crate::fake::{Fake, RESOURCE, SECRET, allowed_everything, at, eventually, token_changed, verify};

#[tokio::test]
async fn one_call_answers_everything_that_the_token_clearly_permits() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    let token = guard
        .verify(SECRET, RESOURCE, &["repository"], None)
        .await
        .expect("allowed");
    assert_eq!(token.name(), allowed_everything().name);
    for (resource, scopes) in [
        (RESOURCE, &["repository"][..]),
        ("workspaces/acme", &[]),
        ("workspaces/acme/projects/web", &["repository:write", "repository"]),
    ] {
        guard.verify(SECRET, resource, scopes, None).await.expect("allowed");
    }
    assert_eq!(fake.service.calls(), 1);
    let stats = guard.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.allowed, stats.cached_tokens),
        (3, 1, 4, 1)
    );
}

#[tokio::test]
async fn only_the_service_denies() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    // The fake allows this token everything: that it does not say so is no reason to deny.
    guard
        .verify(SECRET, RESOURCE, &["webhook"], None)
        .await
        .expect("allowed");
    guard
        .verify(SECRET, "workspaces/globex", &["repository"], None)
        .await
        .expect("allowed");
    assert_eq!(fake.service.calls(), 3);
    let other = guard.verify("tkdw_other", RESOURCE, &["repository"], None).await;
    assert_eq!(other.expect_err("denied").kind().as_str(), "unrecognized");
    assert_eq!(guard.stats().cached_tokens, 1, "no denial is cached");
}

#[tokio::test]
async fn a_revoked_token_is_denied_once_the_stream_says_so() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.deny(SECRET, DenyReason::Revoked);
    fake.service.set_revision(at(4));
    assert_eq!(verify(&guard).await, Ok(()), "the guard has not heard of it");
    fake.service.send(&token_changed(4));
    eventually("the token is denied", async || verify(&guard).await.err()).await;
    assert_eq!(verify(&guard).await, Err("revoked"));
}

#[tokio::test]
async fn an_answer_older_than_the_invalidation_is_used_once() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    fake.service.send(&token_changed(9));
    // Messages of a stream are in order.
    let refused = async || {
        verify(&guard).await.expect("allowed");
        (guard.stats().refused_answers > 0).then_some(())
    };
    eventually("the answer is refused", async || {
        guard.stats().refused_answers.gt(&0).then_some(()).or(refused().await)
    })
    .await;
    let before = fake.service.calls();
    fake.service.send(&token_changed(10));
    for _ in 0..3 {
        assert_eq!(verify(&guard).await, Ok(()));
    }
    assert!(fake.service.calls() > before, "an answer of revision 3 is not cached");
    fake.service.set_revision(at(10));
    assert_eq!(verify(&guard).await, Ok(()));
    let before = fake.service.calls();
    assert_eq!(verify(&guard).await, Ok(()));
    assert_eq!(fake.service.calls(), before, "an answer of revision 10 is");
}

#[tokio::test]
async fn without_a_lease_every_question_is_a_call() {
    let fake = Fake::start().await;
    fake.service.set_lease(Some(Duration::from_millis(300)));
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.set_lease(Some(Duration::ZERO));
    fake.service.deny(SECRET, DenyReason::Revoked);
    // At most a lease later, whatever the stream says.
    eventually("the lease has ended", async || verify(&guard).await.err()).await;
    let before = fake.service.calls();
    for _ in 0..3 {
        assert_eq!(verify(&guard).await, Err("revoked"));
    }
    assert_eq!(fake.service.calls(), before + 3);
}

#[tokio::test]
async fn without_watch_answers_are_cached_for_as_long_as_they_say() {
    let fake = Fake::start().await;
    fake.service.set_watch(false);
    let guard = fake.guard().await;
    for _ in 0..3 {
        assert_eq!(verify(&guard).await, Ok(()));
    }
    assert_eq!(fake.service.calls(), 3, "cacheable_for is zero");
    fake.service.set_cacheable_for(Duration::from_secs(3_600));
    for _ in 0..3 {
        assert_eq!(verify(&guard).await, Ok(()));
    }
    assert_eq!(fake.service.calls(), 4);
    // Another guard gets short-lived answers.
    fake.service.set_cacheable_for(Duration::from_millis(200));
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.deny(SECRET, DenyReason::Revoked);
    eventually("the answer is too old", async || verify(&guard).await.err()).await;
}

#[tokio::test]
async fn a_guard_without_a_cache_asks_every_time() {
    let fake = Fake::start().await;
    fake.service.set_cacheable_for(Duration::from_secs(3_600));
    let guard = TokenGuard::builder(&fake.client().await).without_cache().start();
    for _ in 0..3 {
        assert_eq!(verify(&guard).await, Ok(()));
    }
    assert_eq!(fake.service.calls(), 3);
    assert_eq!(guard.stats().streams, 0);
    guard.shutdown().await;
}

#[tokio::test]
async fn an_outage_is_no_verdict() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    for (status, kind) in [
        (Status::unavailable("the database is out of reach"), "unavailable"),
        (Status::internal("a fault"), "unavailable"),
        (Status::resource_exhausted("too many calls"), "unavailable"),
        (Status::deadline_exceeded("too slow"), "unavailable"),
        (Status::unauthenticated("the key was revoked"), "misconfigured"),
        (Status::permission_denied("not a VERIFIER"), "misconfigured"),
        (Status::invalid_argument("an unknown scope"), "misconfigured"),
    ] {
        fake.service.fail(SECRET, status.clone());
        assert_eq!(verify(&guard).await, Err(kind), "{status}");
    }
    let stats = guard.stats();
    assert_eq!((stats.outages, stats.denied["misconfigured"]), (4, 3));
    fake.service.allow(SECRET, allowed_everything());
    assert_eq!(verify(&guard).await, Ok(()));
}

#[tokio::test]
async fn a_resource_that_is_none_and_an_endless_token_are_denied_without_a_call() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    let outcome = guard
        .verify(SECRET, "workspaces/acme/../globex", &["repository"], None)
        .await;
    assert_eq!(outcome.expect_err("denied").kind().as_str(), "malformed_resource");
    let outcome = guard.verify(&"x".repeat(5_000), RESOURCE, &["repository"], None).await;
    assert_eq!(outcome.expect_err("denied").kind().as_str(), "unrecognized");
    assert_eq!(fake.service.calls(), 0);
}
