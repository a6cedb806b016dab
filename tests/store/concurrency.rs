//! Many at once: writers, processes that start, runtimes that call.

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use tokend_core::revision::Revision;
use tokend_store::{AlreadyInitialized, InitializeError, Insert, RecordedRequest, RequestKey, Store, StoreError, schema_status};

use crate::support::{Fixture, insert_token, insert_workspace, on_both, workspace, workspace_id};

on_both!(
    revisions_are_the_order_of_commits_without_gaps,
    many_start_on_an_empty_database,
    of_many_that_initialize_one_wins,
    many_runtimes_share_a_store,
    writes_leave_a_connection_to_reads,
    of_many_equal_requests_one_is_carried_out,
);

const WRITERS: usize = 20;
const WRITES: usize = 5;

async fn revisions_are_the_order_of_commits_without_gaps(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let fixture = Arc::new(fixture);
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    assert_eq!(insert_workspace(&store, &workspace("globex", now)).await, Insert::Done);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, fixture) = (store.clone(), Arc::clone(&fixture));
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for _ in 0..WRITES {
                    let token = fixture.token(&workspace_id(["acme", "globex"][writer % 2]), now);
                    let written = store.write_advancing::<_, StoreError, _>(move |tx| {
                        Box::pin(async move {
                            tx.lock_workspace(&token.name.workspace).await?.expect("it is there");
                            let inserted = tx.insert_token(&token).await?;
                            // Time enough to be overtaken.
                            tokio::time::sleep(Duration::from_millis(writer as u64 % 3)).await;
                            Ok(inserted)
                        })
                    });
                    let (inserted, Revision { number, .. }) = written.await.expect("it works");
                    assert_eq!(inserted, Insert::Done);
                    revisions.push(number);
                }
                assert!(revisions.is_sorted());
                revisions
            })
        })
        .collect();
    // Each write makes one token: whoever sees a revision sees every change up to it, and none beyond it.
    let done = || writers.iter().all(tokio::task::JoinHandle::is_finished);
    let mut looks = 0;
    while !done() || looks == 0 {
        assert_eq!(fixture.number("SELECT revision - (SELECT count(*) FROM tokens) FROM feed").await, 0);
        looks += 1;
    }
    let mut all = BTreeSet::new();
    for writer in writers {
        all.extend(writer.await.expect("it ends"));
    }
    assert!(all.iter().copied().eq(1..=(WRITERS * WRITES) as u64), "{all:?}");
    assert_eq!(fixture.number("SELECT CAST(sum(token_count) AS bigint) FROM workspaces").await as usize, WRITERS * WRITES);
}

async fn many_start_on_an_empty_database(fixture: Fixture) {
    let starts: Vec<_> = (0..12)
        .map(|_| {
            let (settings, roots, clock) = (fixture.settings.clone(), Arc::clone(&fixture.roots), fixture.clock());
            tokio::spawn(async move { Store::create(&settings, roots, clock).await })
        })
        .collect();
    let mut stores = Vec::new();
    for start in starts {
        stores.push(start.await.expect("it ends").expect("every one comes up"));
    }
    let status = schema_status(&fixture.settings).await.expect("it works");
    assert!(!status.is_behind());
    assert_eq!(fixture.number("SELECT max(version) FROM tokend_migrations").await, status.needed);
    // And all of them work.
    stores[0].initialize(fixture.installation(&stores[0]).await).await.expect("it is new");
    for (number, store) in stores.iter().enumerate() {
        let now = store.now().await.expect("time");
        assert_eq!(insert_workspace(store, &workspace(&format!("w{number}"), now)).await, Insert::Done);
    }
    assert_eq!(stores[0].list_workspaces(None, 100).await.expect("it works").workspaces.len(), stores.len());
}

async fn of_many_that_initialize_one_wins(fixture: Fixture) {
    let fixture = Arc::new(fixture);
    let attempts: Vec<_> = (0..10)
        .map(|_| {
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move {
                let store = fixture.created().await;
                let installation = fixture.installation(&store).await;
                let won = store.initialize(installation).await;
                store.close().await;
                won
            })
        })
        .collect();
    let mut winners = 0;
    for attempt in attempts {
        match attempt.await.expect("it ends") {
            Ok(()) => winners += 1,
            Err(error) => assert!(matches!(error, InitializeError::Already(AlreadyInitialized)), "{error}"),
        }
    }
    assert_eq!(winners, 1);
    // What the losers would have made is not there.
    for table in ["installation", "feed", "keyring_keys", "callers", "caller_keys"] {
        assert_eq!(fixture.number(&format!("SELECT count(*) FROM {table}")).await, 1, "{table}");
    }
    fixture.open().await;
}

async fn many_runtimes_share_a_store(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    let threads: Vec<_> = (0..6)
        .map(|thread| {
            let (store, token) = (store.clone(), token.clone());
            let own = workspace(&format!("w{thread}"), now);
            thread::spawn(move || {
                // Runtimes end while the store goes on: each thread has three, one after the other.
                for _ in 0..3 {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O or time");
                    runtime.block_on(async {
                        for _ in 0..20 {
                            let presented = store.presented_token(token.name.id).await.expect("it works").expect("it is there");
                            assert_eq!(presented.token, token);
                            let _: Insert = insert_workspace(&store, &own).await;
                        }
                    });
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| thread.join().expect("it ends")))
        .await
        .expect("it ends");
    assert_eq!(store.list_workspaces(None, 100).await.expect("it works").workspaces.len(), 7);
}

async fn writes_leave_a_connection_to_reads(mut fixture: Fixture) {
    fixture.settings.max_connections = 4;
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // More writes than connections, all of them after one lock, each longer than a read waits for a connection.
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let held = store.write::<_, StoreError, _>(|tx| {
                    Box::pin(async move {
                        let held = tx.lock_workspace(&workspace_id("acme")).await?;
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        Ok(held)
                    })
                });
                held.await.expect("its turn comes").expect("it is there");
            })
        })
        .collect();
    let mut reads = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        store.workspace(&workspace_id("acme")).await.expect("it does not wait for the writes").expect("it is there");
        reads += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(reads > 5, "{reads}");
    for writer in writers {
        writer.await.expect("it ends");
    }
}

async fn of_many_equal_requests_one_is_carried_out(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let key = RequestKey {
        caller: "ci".parse().expect("an id"),
        rpc: "CreateToken",
        parent: "workspaces/acme".to_owned(),
        request_id: "again".to_owned(),
    };
    let requests: Vec<_> = (0..10)
        .map(|_| {
            let (store, key, token) = (store.clone(), key.clone(), fixture.token(&workspace_id("acme"), now));
            tokio::spawn(async move {
                let answered = store.write::<_, StoreError, _>(move |tx| {
                    Box::pin(async move {
                        // The lock is what makes the second wait for the first.
                        tx.lock_workspace(&token.name.workspace).await?.expect("it is there");
                        if let Some(done) = tx.recorded_request(&key).await? {
                            return Ok(done.token);
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let request = RecordedRequest { digest: [1; 32], token: token.name.id, create_time: now };
                        assert_eq!(tx.insert_token(&token).await?, Insert::Done);
                        assert_eq!(tx.record_request(&key, &request).await?, Insert::Done);
                        Ok(token.name.id)
                    })
                });
                answered.await.expect("it works")
            })
        })
        .collect();
    let mut answers = BTreeSet::new();
    for request in requests {
        answers.insert(request.await.expect("it ends"));
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(fixture.number("SELECT count(*) FROM tokens").await, 1);
}
