//! The store remembers requests for a day, and deletes old ones in batches of limited size.

use std::time::Duration;

use tokend_core::{credential::CredentialId, time::Timestamp};
use tokend_store::{Insert, RecordedRequest, RequestKey, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::Fixture;

on_both_databases!(
    a_request_is_found_for_a_day,
    different_keys_are_different_requests,
    old_requests_are_deleted
);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(request_id: &str) -> RequestKey {
    RequestKey {
        caller: "ci".parse().expect("an id"),
        rpc: "CreateToken",
        parent: "workspaces/acme".to_owned(),
        request_id: request_id.to_owned(),
    }
}

fn request(number: u8, create_time: Timestamp) -> RecordedRequest {
    RecordedRequest {
        digest: [number; 32],
        token: CredentialId::from_bytes([number; 12]),
        create_time,
    }
}

async fn record(store: &Store, key: &RequestKey, number: u8) -> Insert {
    let key = key.clone();
    let recorded = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
        let now = tx.now().await?;
        tx.record_request(&key, &request(number, now)).await
    });
    recorded.await.expect("the write is committed")
}

async fn find(store: &Store, key: &RequestKey) -> Option<RecordedRequest> {
    let key = key.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.recorded_request(&key).await)
        .await
        .expect("`recorded_request` succeeds")
}

async fn a_request_is_found_for_a_day(fixture: Fixture) {
    let store = fixture.initialized().await;
    let key = key("again");
    assert_eq!(find(&store, &key).await, None);
    assert_eq!(record(&store, &key, 1).await, Insert::Done);
    let first = find(&store, &key).await.expect("the request is recorded");
    assert_eq!(first, request(1, first.create_time));
    assert_eq!(record(&store, &key, 2).await, Insert::Taken);

    fixture.set_clock_ahead(DAY - Duration::from_secs(60));
    assert_eq!(record(&store, &key, 2).await, Insert::Taken);
    assert_eq!(find(&store, &key).await, Some(first));
    fixture.set_clock_ahead(DAY);
    assert_eq!(find(&store, &key).await, None);
    assert_eq!(record(&store, &key, 2).await, Insert::Done);
    assert_eq!(
        find(&store, &key).await.expect("the request is recorded").digest,
        [2; 32]
    );
}

async fn different_keys_are_different_requests(fixture: Fixture) {
    let store = fixture.initialized().await;
    let base = key("same");
    let keys = [
        base.clone(),
        RequestKey {
            caller: "other".parse().expect("an id"),
            ..base.clone()
        },
        RequestKey {
            rpc: "RotateToken",
            ..base.clone()
        },
        RequestKey {
            parent: "workspaces/globex".to_owned(),
            ..base.clone()
        },
        RequestKey {
            request_id: "Same".to_owned(),
            ..base
        },
    ];
    for (number, key) in (1..).zip(&keys) {
        assert_eq!(record(&store, key, number).await, Insert::Done);
    }
    for (number, key) in (1..).zip(&keys) {
        assert_eq!(
            find(&store, key).await.expect("the request is recorded").digest,
            [number; 32]
        );
    }
}

async fn old_requests_are_deleted(fixture: Fixture) {
    let store = fixture.initialized().await;
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| {
            let now = tx.now().await?;
            for number in 0..250 {
                assert_eq!(
                    tx.record_request(&key(&format!("old-{number}")), &request(1, now))
                        .await?,
                    Insert::Done
                );
            }
            Ok(())
        })
        .await
        .expect("the write is committed");
    fixture.set_clock_ahead(DAY);
    for (number, left) in [(1, 151), (2, 52), (3, 3), (4, 4)] {
        assert_eq!(
            record(&store, &key(&format!("new-{number}")), number).await,
            Insert::Done
        );
        assert_eq!(fixture.number("SELECT count(*) FROM request_ids").await, left);
    }
}
