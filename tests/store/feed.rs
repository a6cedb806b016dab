//! The feed's row: sealed with every change, and once in a database that an older tokend made.

use std::sync::Arc;

use tokend_store::{FeedProblem, Insert, OpenError, Store, StoreError};

use crate::support::{Fixture, insert_workspace, on_both, workspace, workspace_id};

on_both!(
    what_an_older_tokend_made_is_sealed_once,
    a_change_is_not_built_on_an_edited_row,
    endings_count_up_with_the_row,
    a_restore_that_is_not_finished_keeps_the_database_closed,
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
    let ((), revision) = store.write_advancing::<_, StoreError, _>(|_| Box::pin(async { Ok(()) })).await?;
    Ok(revision.number)
}

async fn sealed(fixture: &Fixture) -> i64 {
    fixture.number("SELECT count(mac) FROM feed").await
}

async fn what_an_older_tokend_made_is_sealed_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    advance(&store).await.expect("it works");
    store.close().await;
    fixture.forget_seal().await;
    // Whatever it holds: nobody sealed it before.
    fixture.sql("UPDATE feed SET revision = 41").await;
    let stores = [fixture.open().await, fixture.open().await];
    assert_eq!(sealed(&fixture).await, 1);
    assert_eq!(advance(&stores[0]).await.expect("it is sealed"), 42);
    assert_eq!(advance(&stores[1]).await.expect("it is sealed"), 43);
    for store in stores {
        store.close().await;
    }
    fixture.sql("UPDATE feed SET mac = NULL").await;
    for _ in 0..2 {
        assert_eq!(problem(&fixture).await, Some(FeedProblem::Tampered));
        assert_eq!(sealed(&fixture).await, 0);
    }
}

async fn a_change_is_not_built_on_an_edited_row(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(advance(&store).await.expect("it works"), 1);
    fixture.sql("UPDATE feed SET revision = 40").await;
    let refused = advance(&store).await;
    assert!(matches!(refused, Err(StoreError::Tampered { table: "feed", .. })), "{refused:?}");
    assert_eq!(fixture.number("SELECT revision FROM feed").await, 40);
    assert!(store.refused_rows().any(|(table, count)| table == "feed" && count > 0));
    fixture.sql("UPDATE feed SET revision = 1").await;
    assert_eq!(advance(&store).await.expect("it is what was sealed"), 2);
    fixture.sql("DELETE FROM feed").await;
    assert!(matches!(advance(&store).await, Err(StoreError::Corrupt { table: "feed", .. })));
    store.close().await;
    assert!(matches!(problem(&fixture).await, Some(FeedProblem::Corrupt(_))));
}

async fn endings_count_up_with_the_row(fixture: Fixture) {
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
                let read = tx.token(&token.name).await?.expect("it is there");
                let reason = tokend_core::text::Reason::new(String::new()).expect("short");
                let revocation = tokend_core::token::Revocation { at: now, by: "root".parse().expect("an id"), reason };
                assert!(tx.revoke_token(&read, revocation).await?.is_some());
            }
            Ok(())
        };
        store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { revoke(tx).await })).await.expect("it works");
    }
    assert_eq!(fixture.column::<i64>("SELECT position FROM endings ORDER BY position").await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(fixture.number("SELECT last_ending FROM feed").await, 6);
    assert_eq!(store.last_ending().await.expect("it works"), store.ending_at(6).await.expect("it works"));
    store.close().await;
    assert_eq!(problem(&fixture).await, None);
    fixture.sql("UPDATE endings SET epoch = epoch - 1 WHERE position = 6").await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Endings(6)));
    fixture.sql("UPDATE endings SET epoch = epoch + 1 WHERE position = 6").await;
    fixture.sql("INSERT INTO endings (position, epoch, line) SELECT 7, epoch, line FROM endings WHERE position = 6").await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Endings(6)));
    fixture.sql("DELETE FROM endings WHERE position > 5").await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Endings(6)));
}

async fn a_restore_that_is_not_finished_keeps_the_database_closed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let before = advance(&store).await.expect("it works");
    let epoch = fixture.number("SELECT epoch FROM feed").await;
    let begin = |store: Store| async move {
        let begun = store.write_advancing::<_, StoreError, _>(|tx| Box::pin(async { tx.begin_restore(7).await }));
        begun.await.expect("it begins").1
    };
    let revision = begin(store.clone()).await;
    assert_eq!((revision.epoch, revision.number), (3, before + 1), "63 bits");
    assert_ne!(fixture.number("SELECT epoch FROM feed").await, epoch);
    store.close().await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Restoring));

    // Whatever somebody has written to the row meanwhile, it is sealed anew.
    fixture.sql("UPDATE feed SET restoring = 0, revision = 9223372036854775807").await;
    assert_eq!(problem(&fixture).await, Some(FeedProblem::Tampered));
    let open = Store::open_to_restore(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock());
    let store = open.await.expect("it opens to be restored");
    assert_eq!(begin(store.clone()).await.number, 1);
    let finished = store.write_advancing::<_, StoreError, _>(|tx| Box::pin(async { tx.finish_restore().await }));
    assert_eq!(finished.await.expect("it ends").1.number, 2);
    store.close().await;
    assert_eq!(problem(&fixture).await, None);
}
