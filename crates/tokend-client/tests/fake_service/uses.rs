//! Reports of uses that the service did not see.

use std::net::IpAddr;

use crate::fake::{Fake, RESOURCE, SECRET, TOKEN, eventually};

#[tokio::test]
async fn uses_of_cached_tokens_are_reported_when_the_guard_ends() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    let home: IpAddr = "192.0.2.7".parse().expect("an address");
    guard
        .verify(SECRET, RESOURCE, &["repository"], Some(home))
        .await
        .expect("allowed");
    assert!(fake.service.uses().is_empty(), "the service saw this one itself");
    for scope in ["repository", "repository:write"] {
        guard
            .verify(SECRET, RESOURCE, &[scope], Some(home))
            .await
            .expect("allowed");
    }
    guard
        .verify::<&str>(SECRET, RESOURCE, &[], None)
        .await
        .expect("allowed");
    assert_eq!(fake.service.calls(), 1);
    guard.shutdown().await;
    let uses = eventually("the uses are reported", async || {
        let uses = fake.service.uses();
        (uses.len() >= 2).then_some(uses)
    })
    .await;
    let reported: Vec<_> = uses
        .iter()
        .map(|used| (used.token.as_str(), used.address.as_str(), used.scopes.join(" ")))
        .collect();
    assert_eq!(
        reported,
        [
            (TOKEN, "192.0.2.7", "repository repository:write".to_owned()),
            (TOKEN, "", String::new())
        ]
    );
    assert!(
        uses.iter()
            .all(|used| used.time.is_some_and(|time| time.seconds > 1_600_000_000))
    );
    assert_eq!(guard.stats().reported_uses, 2);
}

#[tokio::test]
async fn uses_are_reported_when_the_last_guard_is_dropped() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    for _ in 0..2 {
        guard
            .verify(SECRET, RESOURCE, &["repository"], None)
            .await
            .expect("allowed");
    }
    let clone = guard.clone();
    drop(guard);
    assert!(fake.service.uses().is_empty());
    drop(clone);
    eventually("the use is reported", async || {
        (fake.service.uses().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn uses_are_reported_while_the_guard_runs() {
    let fake = Fake::start().await;
    let guard = fake.guard().await;
    for _ in 0..2 {
        guard
            .verify(SECRET, RESOURCE, &["repository"], None)
            .await
            .expect("allowed");
    }
    eventually("the use is reported", async || {
        (fake.service.uses().len() == 1).then_some(())
    })
    .await;
}
