//! A failed write stores nothing, even if its closure ignores the failure.

use tokend_store::{Insert, RecordedRequest, RequestKey, StoreError, WriteTx};
use tokend_test_support::{on_both_databases, on_postgres};

use crate::support::{Fixture, workspace, workspace_id};

on_both_databases!(a_failed_write_stores_nothing);

on_postgres!(postgres_alone: an_ignored_failure_is_not_committed);

#[derive(Debug)]
enum ServiceError {
    Unwanted,
    Store,
}

impl From<StoreError> for ServiceError {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

async fn a_failed_write_stores_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    let refused = store
        .write_advancing::<(), ServiceError, _>(async move |tx: &WriteTx| {
            assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
            Err(ServiceError::Unwanted)
        })
        .await;
    assert!(matches!(refused, Err(ServiceError::Unwanted)), "{refused:?}");
    assert!(
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("`workspace` succeeds")
            .is_none()
    );
    assert_eq!(fixture.number("SELECT revision FROM feed").await, 0);
}

async fn an_ignored_failure_is_not_committed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    let token = fixture.token(&acme.id, now).name.id;
    let refused = store
        .write::<(), StoreError, _>(async move |tx: &WriteTx| {
            assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
            // PostgreSQL rejects text that contains a NUL byte.
            let key = RequestKey {
                caller: "ci".parse().expect("an id"),
                rpc: "CreateToken",
                parent: acme.id.name(),
                request_id: "\0".to_owned(),
            };
            let ignored = tx
                .record_request(
                    &key,
                    &RecordedRequest {
                        digest: [0; 32],
                        token,
                        create_time: now,
                    },
                )
                .await;
            assert!(matches!(ignored, Err(StoreError::Refused { .. })), "{ignored:?}");
            Ok(())
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert!(
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("`workspace` succeeds")
            .is_none()
    );
}
