//! The feed's row is sealed with every change. In a database of an older tokend, it is sealed once when the store
//! opens.

use std::sync::Arc;

use tokend_core::change::{RestoreSource, RestoreSummary};
use tokend_store::{FeedProblem, Insert, OpenError, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, insert_workspace, workspace, workspace_id};

on_both_databases!(
    the_feed_of_an_older_tokend_is_sealed_once,
    a_tampered_row_rejects_changes,
    revocations_are_numbered_without_gaps,
    an_unfinished_restore_keeps_the_database_closed,
);

async fn problem(fixture: &Fixture) -> Option<FeedProblem> {
    match Store::open(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await {
        Ok(store) => {
            store.close().await;
            None
        }
        Err(OpenError::Untrusted { problem, .. }) => Some(problem),
        Err(other) => panic!("{other:?}"),
    }
}

async fn advance(store: &Store) -> Result<u64, StoreError> {
    let ((), committed) = store
        .write_advancing::<_, StoreError, _>(async move |_: &WriteTx| Ok(()))
        .await?;
    Ok(committed.revision.number)
}

async fn sealed(fixture: &Fixture) -> i64 {
    fixture.number("SELECT count(mac) FROM feed").await
}

async fn the_feed_of_an_older_tokend_is_sealed_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    advance(&store).await.expect("`advance` succeeds");
    store.close().await;
    fixture.forget_seal().await;
    // The store accepts any content, because it was never sealed.
    fixture.sql("UPDATE feed SET revision = 41").await;
    let stores = [fixture.open().await, fixture.open().await];
    assert_eq!(sealed(&fixture).await, 1);
    assert_eq!(advance(&stores[0]).await.expect("the feed is sealed"), 42);
    assert_eq!(advance(&stores[1]).await.expect("the feed is sealed"), 43);
    for store in stores {
        store.close().await;
    }
    fixture.sql("UPDATE feed SET mac = NULL").await;
    for _ in 0..2 {
        assert_eq!(problem(&fixture).await, Some(FeedProblem::Tampered));
        assert_eq!(sealed(&fixture).await, 0);
    }
}

async fn a_tampered_row_rejects_changes(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(advance(&store).await.expect("`advance` succeeds"), 1);
    fixture.sql("UPDATE feed SET revision = 40").await;
    let refused = advance(&store).await;
    assert!(
        matches!(refused, Err(StoreError::Tampered { table: "feed", .. })),
        "{refused:?}"
    );
    assert_eq!(fixture.number("SELECT revision FROM feed").await, 40);
    assert!(store.refused_rows().any(|(table, count)| table == "feed" && count > 0));
    fixture.sql("UPDATE feed SET revision = 1").await;
    assert_eq!(advance(&store).await.expect("the row is intact again"), 2);
    fixture.sql("DELETE FROM feed").await;
    assert!(matches!(
        advance(&store).await,
        Err(StoreError::Corrupt { table: "feed", .. })
    ));
    store.close().await;
    assert!(matches!(problem(&fixture).await, Some(FeedProblem::Corrupt(_))));
}

async fn revocations_are_numbered_without_gaps(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    for tokens in 1..=3 {
        let tokens: Vec<_> = (0..tokens).map(|_| fixture.token(&workspace_id("acme"), now)).collect();
        for token in &tokens {
            assert_eq!(crate::support::insert_token(&store, token).await, Insert::Done);
        }
        let revoke = async move |tx: &tokend_store::WriteTx| {
            for token in tokens {
                let read = tx.token(&token.name).await?.expect("the token exists");
                let reason = tokend_core::text::Reason::new(String::new()).expect("short");
                let revocation = tokend_core::token::Revocation {
                    at: now,
                    by: "root".parse().expect("an id"),
                    reason,
                };
                assert!(tx.revoke_token(&read, revocation).await?.is_some());
            }
            Ok(())
        };
        store
            .write_advancing::<_, StoreError, _>(revoke)
            .await
            .expect("the write is committed");
    }
    assert_eq!(
        fixture
            .column::<i64>("SELECT position FROM endings ORDER BY position")
            .await,
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(fixture.number("SELECT last_ending FROM feed").await, 6);
    assert_eq!(
        store.last_revocation().await.expect("`last_revocation` succeeds"),
        store.revocation_at(6).await.expect("`revocation_at` succeeds")
    );
    store.close().await;
    assert_eq!(problem(&fixture).await, None);
    fixture
        .sql("UPDATE endings SET epoch = epoch - 1 WHERE position = 6")
        .await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Endings(6)));
    fixture
        .sql("UPDATE endings SET epoch = epoch + 1 WHERE position = 6")
        .await;
    fixture
        .sql("INSERT INTO endings (position, epoch, line) SELECT 7, epoch, line FROM endings WHERE position = 6")
        .await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Endings(6)));
    fixture.sql("DELETE FROM endings WHERE position > 5").await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Endings(6)));
}

async fn an_unfinished_restore_keeps_the_database_closed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let before = advance(&store).await.expect("`advance` succeeds");
    let epoch = fixture.number("SELECT epoch FROM feed").await;
    let begin = |store: Store| async move {
        let begun = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| tx.begin_restore(7).await);
        begun.await.expect("the restore begins").1.revision
    };
    let revision = begin(store.clone()).await;
    let found = (fixture.stored_epoch(revision), revision.number);
    assert_eq!(found, (3, before + 1), "63 bits");
    assert_ne!(fixture.number("SELECT epoch FROM feed").await, epoch);
    store.close().await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Restoring));

    // Beginning a restore again seals the row again, whatever was written to it.
    fixture
        .sql("UPDATE feed SET restoring = 0, revision = 9223372036854775807")
        .await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Tampered));
    let open = Store::open_to_restore(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock());
    let store = open.await.expect("the store opens for a restore");
    assert_eq!(begin(store.clone()).await.number, 1);
    let summary = RestoreSummary {
        source: RestoreSource::RevokeAll,
        policies: 0,
        workspaces: 0,
        tokens: 0,
        callers: 0,
        caller_keys: 0,
    };
    let finished = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
        tx.finish_restore(summary);
        Ok(())
    });
    assert_eq!(finished.await.expect("the restore finishes").1.revision.number, 2);
    store.close().await;
    assert_eq!(problem(&fixture).await, None);
}
