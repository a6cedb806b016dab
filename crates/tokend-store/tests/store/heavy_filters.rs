//! The most expensive filters slow down neither verdicts nor revocations, and are cancelled when their caller no longer
//! waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection, SqliteConnection};
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    filter::TokenFilter,
    labels::Labels,
    policy::PolicyState,
    text::Reason,
    token::{Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, Store, StoreError, TokenPage, WriteTx};
use tokend_test_support::{eventually, on_both_databases};
use tokio::{task::JoinSet, time::timeout};

use crate::support::{Fixture, insert_workspace, run_within, workspace, workspace_id};

on_both_databases!(
    a_filter_is_cancelled_when_its_caller_gives_up,
    a_filter_of_many_labels_finds_and_counts_the_right_tokens
);

/// Slow tests.
mod beside_filters {
    use tokend_test_support::Storage;

    use super::{Duration, a_list_shortens_a_log_that_has_grown, run_within, verdicts_and_revocations_are_not_delayed};

    const LIMIT: Duration = Duration::from_secs(300);

    #[test]
    fn on_sqlite() {
        run_within(LIMIT, Storage::Sqlite, verdicts_and_revocations_are_not_delayed);
    }

    #[test]
    fn on_postgres() {
        run_within(LIMIT, Storage::Postgres, verdicts_and_revocations_are_not_delayed);
    }

    #[test]
    fn the_log_of_sqlite() {
        run_within(LIMIT, Storage::Sqlite, a_list_shortens_a_log_that_has_grown);
    }
}

/// Bytes of a large write.
const LARGE: u64 = 512 << 10;

const TOKENS: usize = 10_000;
/// Tokens inserted in one transaction.
const BATCH: usize = 500;
/// Callers who list at the same time.
const LISTING: usize = 8;
/// How long each caller waits for a response.
const LIST_DEADLINE: Duration = Duration::from_secs(2);
/// The time limit of a verdict or a revocation.
const DEADLINE: Duration = Duration::from_secs(5);

/// Creates a workspace with this number of tokens, each with 16 long labels, and returns the tokens.
async fn filled(fixture: &Fixture, store: &Store, tokens: usize) -> Vec<Token> {
    let now = store.now().await.expect("time");
    let acme = Workspace {
        state: WorkspaceState::Active,
        organization: None,
        policy: PolicyState::default(),
        ..workspace("acme", now)
    };
    assert_eq!(insert_workspace(store, &acme).await, Insert::Done);
    let labels = |number: usize| {
        let labels =
            (0..Labels::MAX).map(|label| (format!("label{label:02}"), format!("{number:05} {}", "x".repeat(122))));
        Labels::new(labels.collect()).expect("labels")
    };
    let all: Vec<_> = (0..tokens)
        .map(|number| Token {
            labels: labels(number),
            ..fixture.token(&acme.id, now)
        })
        .collect();
    for batch in all.chunks(BATCH) {
        insert(store, batch.to_vec()).await;
    }
    all
}

/// Inserts tokens in one transaction.
async fn insert(store: &Store, tokens: Vec<Token>) {
    let insert = async move |tx: &WriteTx| {
        for token in &tokens {
            assert_eq!(tx.insert_token(token).await?, Insert::Done);
        }
        Ok::<_, StoreError>(())
    };
    store
        .write(async move |tx: &WriteTx| insert(tx).await)
        .await
        .expect("the write is committed");
}

/// Returns a filter with the maximum number of label restrictions. Only the last can match: tokens whose labels begin
/// with `end`.
fn heavy(end: &str) -> TokenFilter {
    let others =
        (1..TokenFilter::MAX_RESTRICTIONS).map(|number| format!("labels.label{:02} = \"{number:05} no\"", number % 16));
    let last = format!("labels.label15 = \"{end} {}\"", "x".repeat(122));
    let text = others.chain([last]).collect::<Vec<_>>().join(" OR ");
    text.parse().expect("a filter")
}

async fn list(store: &Store, filter: TokenFilter) -> Result<TokenPage, StoreError> {
    Ok(store
        .filtered_tokens(&workspace_id("acme"), filter, None, 50)
        .await?
        .expect("the workspace exists"))
}

async fn verdicts_and_revocations_are_not_delayed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = filled(&fixture, &store, TOKENS).await;
    let (stop, given_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut lists = JoinSet::new();
    for _ in 0..LISTING {
        let (store, stop, given_up) = (store.clone(), Arc::clone(&stop), Arc::clone(&given_up));
        lists.spawn(async move {
            let mut lists = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = timeout(LIST_DEADLINE, list(&store, heavy("no"))).await;
                given_up.fetch_add(usize::from(answer.is_err()), Ordering::Relaxed);
                lists += 1;
            }
            lists
        });
    }
    let by = "root".parse::<tokend_core::name::CallerId>().expect("an id");
    for token in tokens.iter().take(40) {
        let found = timeout(DEADLINE, store.token_snapshot(token.name.id))
            .await
            .expect("Verify answers in time");
        assert!(found.expect("Verify succeeds").is_some());
        let (name, by) = (token.name.clone(), by.clone());
        let revoke = async move |tx: &WriteTx| {
            tx.lock_workspace(&name.workspace).await?.expect("the workspace exists");
            let read = tx.token(&name).await?.expect("the token exists");
            let reason = Reason::new(String::new()).expect("a reason");
            let revocation = Revocation {
                at: tx.now().await?,
                by,
                reason,
            };
            assert!(tx.revoke_token(&read, revocation).await?.is_some());
            Ok::<_, StoreError>(())
        };
        let reserved = store.reserved();
        let revoked = reserved.write_advancing(revoke);
        timeout(DEADLINE, revoked)
            .await
            .expect("a revocation is committed in time")
            .expect("a revocation succeeds");
    }
    stop.store(true, Ordering::Relaxed);
    let lists = lists.join_all().await;
    assert!(
        lists.iter().all(|lists| *lists > 0),
        "every list was started: {lists:?}"
    );
    let answer = timeout(DEADLINE, list(&store, "state = ACTIVE".parse().expect("a filter"))).await;
    assert_eq!(
        answer
            .expect("an abandoned list does not block another one")
            .expect("a list succeeds")
            .tokens
            .len(),
        50
    );
}

async fn a_filter_is_cancelled_when_its_caller_gives_up(fixture: Fixture) {
    let store = fixture.initialized().await;
    filled(&fixture, &store, 4_000).await;
    for _ in 0..200 {
        // The caller gives up shortly after the start.
        let begun = timeout(Duration::from_millis(10), list(&store, heavy("no"))).await;
        assert!(!matches!(begun, Ok(Err(StoreError::Unavailable { .. }))), "{begun:?}");
    }
    let answer = timeout(DEADLINE, list(&store, "state = ACTIVE".parse().expect("a filter"))).await;
    answer
        .expect("an abandoned list does not block another one")
        .expect("the list is not rejected");
}

async fn a_filter_of_many_labels_finds_and_counts_the_right_tokens(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = filled(&fixture, &store, 1_200).await;
    let found = list(&store, heavy("00007")).await.expect("`filtered_tokens` succeeds");
    let names: Vec<_> = found
        .tokens
        .into_iter()
        .map(|token| token.expect("the row is intact").name)
        .collect();
    assert_eq!((names, found.total_size), (vec![tokens[7].name.clone()], 1));
    let living = store
        .unrevoked_tokens(&workspace_id("acme"), heavy("01199"), 1_000)
        .await
        .expect("`unrevoked_tokens` succeeds")
        .expect("the workspace exists");
    let names: Vec<_> = living
        .tokens
        .into_iter()
        .map(|token| token.expect("the row is intact").name)
        .collect();
    assert_eq!((names, living.total_size), (vec![tokens[1_199].name.clone()], 1));
}

/// Every read pins the state of the log at which it began: while one runs, the log grows.
async fn a_list_shortens_a_log_that_has_grown(fixture: Fixture) {
    const LONG: u64 = 8 << 20;
    let store = fixture.initialized().await;
    filled(&fixture, &store, 10).await;
    let mut other = SqliteConnection::connect(&fixture.settings.url)
        .await
        .expect("the connection opens");
    let mut reading = other.begin().await.expect("the transaction begins");
    sqlx::query("SELECT * FROM feed")
        .fetch_all(&mut *reading)
        .await
        .expect("the query succeeds");
    for _ in 0..3 * LONG / 2 / LARGE {
        store
            .write(async move |tx: &WriteTx| {
                tx.append_event(large_event());
                Ok::<_, StoreError>(())
            })
            .await
            .expect("the event is appended");
    }
    let length = || {
        std::fs::metadata(fixture.file().with_extension("db-wal"))
            .expect("a log file")
            .len()
    };
    assert!(length() > LONG);
    reading.rollback().await.expect("the transaction ends");
    eventually("the log is short", async || {
        list(&store, heavy("no")).await.expect("`filtered_tokens` succeeds");
        (length() < LONG).then_some(())
    })
    .await;
}

fn large_event() -> Event {
    Event {
        chain: Chain::Workspace(workspace_id("acme")),
        kind: EventType::WorkspaceResumed,
        origin: Origin::default(),
        resource: "workspaces/acme".to_owned(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "x".repeat(usize::try_from(LARGE).expect("the size fits")),
        row: RowAfter::None,
    }
}
