//! Streams that are cut, refused, or end in another epoch.

use std::time::Duration;

use tokend_client::{
    guard::StreamState,
    v1::{DenyReason, Revision, WatchResponse},
};

use crate::fake::{EPOCH, Fake, SECRET, at, eventually, token_changed, verify};

const RESYNC: WatchResponse = WatchResponse {
    invalidations: Vec::new(),
    pong: None,
    resync_required: true,
};

async fn streams(fake: &Fake, count: usize) -> Vec<Option<Revision>> {
    eventually("the stream begins", async || {
        let resumed = fake.service.resumed();
        (resumed.len() >= count).then_some(resumed)
    })
    .await
}

#[tokio::test]
async fn a_cut_stream_is_resumed_and_keeps_its_cache() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.set_missed(token_changed(4));
    fake.service.cut();
    assert_eq!(verify(&guard).await, Ok(()), "the lease runs");
    fake.service.deny(SECRET, DenyReason::Revoked);
    fake.service.set_revision(at(4));
    assert_eq!(streams(&fake, 2).await[..2], [None, Some(at(3))]);
    eventually("what was missed is replayed", async || verify(&guard).await.err()).await;
    assert_eq!(guard.stats().resyncs, 0);
}

#[tokio::test]
async fn the_cache_of_a_cut_stream_is_dropped_with_its_lease() {
    let fake = Fake::start().await;
    fake.service.set_lease(Some(Duration::from_millis(400)));
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.set_watch(false);
    fake.service.cut();
    eventually("the cache is dropped", async || {
        (guard.stats().cached_tokens == 0).then_some(())
    })
    .await;
    eventually("the service refuses another", async || {
        (guard.stats().stream == StreamState::Refused).then_some(())
    })
    .await;
    fake.service.deny(SECRET, DenyReason::Revoked);
    assert_eq!(verify(&guard).await, Err("revoked"));
}

#[tokio::test]
async fn a_resync_drops_the_cache_and_the_stream_goes_on() {
    let fake = Fake::start().await;
    fake.service.set_lease(Some(Duration::from_secs(1)));
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.send(&RESYNC);
    eventually("the cache is dropped", async || {
        (guard.stats().resyncs == 1).then_some(())
    })
    .await;
    eventually("it fills again", async || {
        verify(&guard).await.expect("allowed");
        (guard.stats().hits > 0 && guard.stats().cached_tokens == 1).then_some(())
    })
    .await;
    assert_eq!(fake.service.resumed(), [None]);
}

#[tokio::test]
async fn another_epoch_drops_the_cache_and_begins_anew() {
    let fake = Fake::start().await;
    fake.service.set_lease(Some(Duration::from_secs(1)));
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    fake.service.deny(SECRET, DenyReason::Revoked);
    fake.service.set_revision(Revision {
        epoch: EPOCH + 1,
        number: 1,
    });
    assert_eq!(streams(&fake, 2).await, [None, None]);
    assert_eq!(verify(&guard).await, Err("revoked"));
    assert!(guard.stats().resyncs > 0);
}

#[tokio::test]
async fn a_stream_is_opened_again_when_the_server_comes_back() {
    let fake = Fake::start().await;
    fake.service.set_lease(Some(Duration::from_millis(400)));
    let guard = fake.guard().await;
    assert_eq!(verify(&guard).await, Ok(()));
    let (address, service) = (fake.address, fake.service.clone());
    drop(fake);
    eventually("the lease has ended", async || verify(&guard).await.err()).await;
    assert_eq!(
        verify(&guard).await,
        Err("unavailable"),
        "nothing is allowed without the service"
    );
    let fake = Fake::restart(address, service).await;
    eventually("it is verified again", async || verify(&guard).await.ok()).await;
    eventually("the stream is open", async || {
        (guard.stats().stream == StreamState::Open).then_some(())
    })
    .await;
    let before = fake.service.calls();
    eventually("it is answered from the cache", async || {
        verify(&guard).await.expect("allowed");
        (guard.stats().hits > 1).then_some(())
    })
    .await;
    assert!(fake.service.calls() - before < 100);
}

#[tokio::test]
async fn a_server_that_stays_silent_gives_no_lease() {
    let fake = Fake::start().await;
    fake.service.set_lease(None);
    let client = fake.client().await;
    let guard = tokend_client::guard::TokenGuard::new(&client);
    streams(&fake, 1).await;
    for _ in 0..3 {
        assert_eq!(verify(&guard).await, Ok(()));
    }
    assert_eq!(fake.service.calls(), 3);
    assert_eq!(guard.stats().stream, StreamState::Connecting);
}
