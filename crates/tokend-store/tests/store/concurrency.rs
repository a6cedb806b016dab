//! The store works with many concurrent writers, processes and runtimes.

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use tokend_store::{
    AlreadyInitialized, Committed, InitializeError, Insert, RecordedRequest, RequestKey, Store, StoreError, WriteTx,
    schema_status,
};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, insert_token, insert_workspace, workspace, workspace_id};

on_both_databases!(
    revisions_follow_the_commit_order_without_gaps,
    many_processes_start_on_an_empty_database,
    only_one_of_many_initializations_succeeds,
    many_runtimes_share_a_store,
    writes_leave_a_connection_for_reads,
    only_one_of_many_equal_requests_is_executed,
);

const WRITERS: usize = 20;
const WRITES: usize = 5;

async fn revisions_follow_the_commit_order_without_gaps(fixture: Fixture) {
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
                    let written = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
                        tx.lock_workspace(&token.name.workspace)
                            .await?
                            .expect("the workspace exists");
                        let inserted = tx.insert_token(&token).await?;
                        // Lets other writers overtake this one.
                        tokio::time::sleep(Duration::from_millis(writer as u64 % 3)).await;
                        Ok(inserted)
                    });
                    let (inserted, Committed { revision, .. }) = written.await.expect("the write is committed");
                    assert_eq!(inserted, Insert::Done);
                    revisions.push(revision.number);
                }
                assert!(revisions.is_sorted());
                revisions
            })
        })
        .collect();
    // Each write creates one token. A reader that sees a revision sees exactly the changes up to it.
    let done = || writers.iter().all(tokio::task::JoinHandle::is_finished);
    let mut reads_of_feed = 0;
    while !done() || reads_of_feed == 0 {
        assert_eq!(
            fixture
                .number("SELECT revision - (SELECT count(*) FROM tokens) FROM feed")
                .await,
            0
        );
        reads_of_feed += 1;
    }
    let mut all = BTreeSet::new();
    for writer in writers {
        all.extend(writer.await.expect("the writer finishes"));
    }
    assert!(all.iter().copied().eq(1..=(WRITERS * WRITES) as u64), "{all:?}");
    assert_eq!(
        fixture
            .number("SELECT CAST(sum(token_count) AS bigint) FROM workspaces")
            .await as usize,
        WRITERS * WRITES
    );
}

async fn many_processes_start_on_an_empty_database(fixture: Fixture) {
    let starts: Vec<_> = (0..12)
        .map(|_| {
            let (settings, roots, clock) = (fixture.settings.clone(), Arc::clone(&fixture.roots), fixture.clock());
            tokio::spawn(async move { Store::create(&settings, roots, clock).await })
        })
        .collect();
    let mut stores = Vec::new();
    for start in starts {
        stores.push(
            start
                .await
                .expect("the start finishes")
                .expect("every process opens the store"),
        );
    }
    let status = schema_status(&fixture.settings)
        .await
        .expect("`schema_status` succeeds");
    assert!(!status.is_behind());
    assert_eq!(
        fixture.number("SELECT max(version) FROM tokend_migrations").await,
        status.needed
    );
    // All of them work.
    stores[0]
        .initialize(fixture.installation(&stores[0]).await)
        .await
        .expect("the database is initialized");
    for (number, store) in stores.iter().enumerate() {
        let now = store.now().await.expect("time");
        assert_eq!(
            insert_workspace(store, &workspace(&format!("w{number}"), now)).await,
            Insert::Done
        );
    }
    assert_eq!(
        stores[0]
            .list_workspaces(None, 100)
            .await
            .expect("`list_workspaces` succeeds")
            .workspaces
            .len(),
        stores.len()
    );
}

async fn only_one_of_many_initializations_succeeds(fixture: Fixture) {
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
        match attempt.await.expect("the attempt finishes") {
            Ok(()) => winners += 1,
            Err(error) => assert!(matches!(error, InitializeError::Already(AlreadyInitialized)), "{error}"),
        }
    }
    assert_eq!(winners, 1);
    // The failed attempts stored nothing.
    for table in ["installation", "feed", "keyring_keys", "callers", "caller_keys"] {
        assert_eq!(
            fixture.number(&format!("SELECT count(*) FROM {table}")).await,
            1,
            "{table}"
        );
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
                // Each thread starts and drops three runtimes in turn, while the store stays open.
                for _ in 0..3 {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .build()
                        .expect("a runtime without I/O or time");
                    runtime.block_on(async {
                        for _ in 0..20 {
                            let presented = store
                                .token_snapshot(token.name.id)
                                .await
                                .expect("`token_snapshot` succeeds")
                                .expect("the token exists");
                            assert_eq!(*presented.token, token);
                            let _: Insert = insert_workspace(&store, &own).await;
                        }
                    });
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || {
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("the thread finishes"))
    })
    .await
    .expect("the threads finish");
    assert_eq!(
        store
            .list_workspaces(None, 100)
            .await
            .expect("`list_workspaces` succeeds")
            .workspaces
            .len(),
        7
    );
}

async fn writes_leave_a_connection_for_reads(mut fixture: Fixture) {
    fixture.settings.max_connections = 4;
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // More writes than connections. All wait for one lock, each longer than a read waits for a connection.
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let held = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
                    let held = tx.lock_workspace(&workspace_id("acme")).await?;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Ok(held)
                });
                held.await
                    .expect("the write gets the lock")
                    .expect("the workspace exists");
            })
        })
        .collect();
    let mut reads = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("the read does not wait for the writes")
            .expect("the workspace exists");
        reads += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(reads > 5, "{reads}");
    for writer in writers {
        writer.await.expect("the writer finishes");
    }
}

async fn only_one_of_many_equal_requests_is_executed(fixture: Fixture) {
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
                let answered = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
                    // The lock makes the second request wait for the first.
                    tx.lock_workspace(&token.name.workspace)
                        .await?
                        .expect("the workspace exists");
                    if let Some(done) = tx.recorded_request(&key).await? {
                        return Ok(done.token);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let request = RecordedRequest {
                        digest: [1; 32],
                        token: token.name.id,
                        create_time: now,
                    };
                    assert_eq!(tx.insert_token(&token).await?, Insert::Done);
                    assert_eq!(tx.record_request(&key, &request).await?, Insert::Done);
                    Ok(token.name.id)
                });
                answered.await.expect("the write is committed")
            })
        })
        .collect();
    let mut answers = BTreeSet::new();
    for request in requests {
        answers.insert(request.await.expect("the request finishes"));
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(fixture.number("SELECT count(*) FROM tokens").await, 1);
}
