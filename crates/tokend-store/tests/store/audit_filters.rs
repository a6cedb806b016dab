//! A filtered list of the audit log returns what the filter in core matches, and examines a limited number of records
//! per call.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokend_core::{
    audit::{Chain, Event, EventType, Head, Origin, Outcome, Record, RowAfter},
    filter::EventFilter,
    time::Timestamp,
};
use tokend_store::{MAX_EXAMINED_RECORDS, RecordPage, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, workspace_id};

on_both_databases!(
    filtered_lists_match_the_filter_in_core,
    a_call_examines_a_limited_number_of_records,
    an_edited_record_is_reported
);

const RESOURCES: [&str; 6] = [
    "",
    "workspaces/acme",
    "workspaces/acme/tokens/x_1",
    "workspaces/acme2",
    "workspaces/acme/tokens",
    "workspaces/acme/tokens/xa1",
];
const ADDRESSES: [&str; 3] = ["192.0.2.7", "192.0.3.7", "2001:db8::7"];
/// Some texts are prefixes, suffixes or infixes of others. `%` is no wildcard.
const REASONS: [&str; 6] = ["", "it leaked", "leak%d", "ä \"b\" \\ 'c'", "IT LEAKED", "%"];
const TYPES: [EventType; 4] = [
    EventType::TokenCreated,
    EventType::CallerKeyRevoked,
    EventType::CallerDeleted,
    EventType::CallRefused,
];

fn acme() -> Chain {
    Chain::Workspace(workspace_id("acme"))
}

fn comparisons(now: Timestamp) -> impl Strategy<Value = String> {
    let sampled = |texts: &[&'static str]| prop::sample::select(texts.to_vec());
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let equality = || sampled(&["=", "!="]);
    let types = sampled(&["token.created", "caller.deleted", "call.refused", "token.revoked"]);
    let order = sampled(&["=", "!=", "<", "<=", ">", ">="]);
    let time =
        prop::sample::select(vec![-1, 0, 1]).prop_map(move |micros| now.saturating_add_micros(micros).to_string());
    prop_oneof![
        (equality(), types).prop_map(|(op, kind)| format!("type {op} {kind}")),
        sampled(&["token", "caller", "caller_key"]).prop_map(|subject| format!("type:{subject}")),
        (equality(), sampled(&["''", "callers/ci"])).prop_map(|(op, caller)| format!("caller {op} {caller}")),
        (equality(), sampled(&["''", "ada"])).prop_map(|(op, actor)| format!("actor {op} {actor}")),
        (equality(), sampled(&ADDRESSES)).prop_map(|(op, address)| format!("address {op} {address}")),
        sampled(&["192.0.2.0/24", "192.0.0.0/16", "::/0"]).prop_map(|network| format!("address:{network}")),
        (equality(), sampled(&RESOURCES)).prop_map(move |(op, name)| format!("resource {op} {}", quoted(name))),
        sampled(&RESOURCES[1..]).prop_map(|name| format!("resource:{name}")),
        (equality(), sampled(&["DONE", "REFUSED"])).prop_map(|(op, outcome)| format!("outcome {op} {outcome}")),
        (sampled(&["=", "!=", ":"]), sampled(&REASONS))
            .prop_map(move |(op, reason)| format!("reason {op} {}", quoted(reason))),
        (order, time).prop_map(|(op, time)| format!("time {op} {time}")),
    ]
}

fn filters(now: Timestamp) -> impl Strategy<Value = String> {
    comparisons(now).prop_recursive(3, 12, 3, |inner| {
        (prop::collection::vec(inner, 2..4), any::<bool>())
            .prop_map(|(parts, all)| format!("({})", parts.join(if all { ") AND (" } else { ") OR (" })))
    })
}

fn events() -> impl Strategy<Value = Event> {
    let caller = prop::option::of(Just("ci"));
    let actor = prop::option::of(Just("ada"));
    let address = prop::option::of(prop::sample::select(ADDRESSES.to_vec()));
    let (kind, resource) = (
        prop::sample::select(TYPES.to_vec()),
        prop::sample::select(RESOURCES.to_vec()),
    );
    (
        kind,
        resource,
        caller,
        actor,
        address,
        prop::sample::select(REASONS.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(kind, resource, caller, actor, address, reason, done)| Event {
            chain: acme(),
            kind,
            origin: Origin {
                caller: caller.map(|caller| caller.parse().expect("an id")),
                actor: actor.map(|actor| actor.parse().expect("an actor")),
                address: address.map(|address| address.parse().expect("an address")),
            },
            resource: resource.to_owned(),
            outcome: if done { Outcome::Done } else { Outcome::Refused },
            reason: reason.to_owned(),
            detail: String::new(),
            row: RowAfter::None,
        })
}

/// Returns a deterministic runner, so that failures can be reproduced.
fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn draw<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy
        .new_tree(runner)
        .expect("the strategy yields a value")
        .current()
}

async fn page(store: &Store, filter: &str, before: Option<u64>, limit: u64) -> RecordPage {
    let filter: EventFilter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
    store
        .filtered_audit(&acme(), filter, before, limit)
        .await
        .expect("`filtered_audit` succeeds")
}

/// Reads all pages and returns their records and the number of pages.
async fn walk(store: &Store, filter: &str, limit: u64) -> (Vec<Result<Record, StoreError>>, usize) {
    let (mut records, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let RecordPage { records: found, next } = page(store, filter, before, limit).await;
        assert!(found.len() as u64 <= limit);
        records.extend(found);
        pages += 1;
        if next.is_none() {
            return (records, pages);
        }
        before = next;
    }
}

async fn filtered_lists_match_the_filter_in_core(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (mut runner, drawn) = (runner(), events());
    for _ in 0..12 {
        let some: Vec<_> = (0..5).map(|_| draw(&mut runner, &drawn)).collect();
        let append = store.write(async move |tx: &WriteTx| {
            for event in some {
                tx.append_event(event);
            }
            Ok::<_, StoreError>(())
        });
        append.await.expect("the events are appended");
    }
    let all = store.list_audit(&acme(), None, 1_000).await.expect("a page").records;
    let all: Vec<_> = all
        .into_iter()
        .map(|record| record.expect("the record is intact"))
        .collect();
    let middle = Timestamp::from_unix_micros(all[all.len() / 2].time_micros).expect("a time");
    let (mut some, strategy) = (0, filters(middle));
    for number in 0..120 {
        let text = draw(&mut runner, &strategy);
        let filter: EventFilter = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let wanted: Vec<_> = all.iter().filter(|record| filter.matches(record)).cloned().collect();
        let (found, _) = walk(&store, &text, if number % 2 == 0 { 7 } else { 1_000 }).await;
        let found: Vec<_> = found
            .into_iter()
            .map(|record| record.expect("the record is intact"))
            .collect();
        assert_eq!(found, wanted, "{text}");
        some += usize::from((1..all.len()).contains(&wanted.len()));
    }
    assert!(some > 50, "too few filters match only some of the records: {some}");
}

/// Appends an event with this sequence number. The records before it are missing, which these tests do not check.
async fn lengthen(fixture: &Fixture, store: &Store, sequence: u64, event: Event) {
    let head = store
        .audit_head(&acme())
        .await
        .expect("`audit_head` succeeds")
        .expect("the chain has a head");
    let far = Head {
        sequence: sequence - 1,
        ..head
    };
    let record = Record::append(&far, event, store.now().await.expect("time"), &fixture.ring);
    let head = far.after(&record);
    let [hash, mac, previous] = [
        head.hash,
        head.mac(&fixture.ring).expect("the ring has the key"),
        record.previous_hash,
    ]
    .map(|hash| fixture.bytes(hash.as_bytes()));
    let Record {
        time_micros,
        kind,
        resource,
        outcome,
        kid,
        ..
    } = &record;
    let insert = format!(
        "INSERT INTO audit_events VALUES \
         ('acme', {sequence}, {time_micros}, '{kind}', '', '', '', '{resource}', '{outcome}', \
          '', '', {}, '{kid}', {previous}, {hash})",
        fixture.bytes(&[])
    );
    assert_eq!(fixture.sql(&insert).await, 1);
    let update =
        format!("UPDATE audit_chains SET sequence = {sequence}, hash = {hash}, mac = {mac} WHERE chain = 'acme'");
    assert_eq!(fixture.sql(&update).await, 1);
}

fn event(kind: EventType) -> Event {
    Event {
        chain: acme(),
        kind,
        origin: Origin::default(),
        resource: "workspaces/acme".to_owned(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: String::new(),
        row: RowAfter::None,
    }
}

async fn a_call_examines_a_limited_number_of_records(fixture: Fixture) {
    let store = fixture.initialized().await;
    let append = |kind| {
        store.write(async move |tx: &WriteTx| {
            tx.append_event(event(kind));
            Ok::<_, StoreError>(())
        })
    };
    append(EventType::WorkspaceCreated)
        .await
        .expect("the event is appended");
    append(EventType::WorkspaceSuspended)
        .await
        .expect("the event is appended");
    // The newest page reaches the second record, but not the first.
    lengthen(
        &fixture,
        &store,
        MAX_EXAMINED_RECORDS + 1,
        event(EventType::WorkspaceResumed),
    )
    .await;
    let first = page(&store, "type:workspace", None, 10).await;
    let kinds = |page: RecordPage| {
        page.records
            .into_iter()
            .map(|record| record.expect("the record is intact").kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(first.next, Some(2), "the first page does not reach the first record");
    assert_eq!(kinds(first), ["workspace.resumed", "workspace.suspended"]);
    let second = page(&store, "type:workspace", Some(2), 10).await;
    assert_eq!(
        (second.next, kinds(second)),
        (None, vec!["workspace.created".to_owned()])
    );

    let (found, pages) = walk(&store, "type:workspace", 1).await;
    assert_eq!((found.len(), pages), (3, 3), "all records are found");
    let (none, pages) = walk(&store, "type:token", 10).await;
    assert_eq!((none.len(), pages), (0, 2), "an empty page can have a next one");
    assert!(
        page(&store, "type:workspace", Some(u64::MAX), 10).await.records.len() == 2,
        "a page token after the end starts at the newest record"
    );
}

async fn an_edited_record_is_reported(fixture: Fixture) {
    let store = fixture.initialized().await;
    for kind in [EventType::WorkspaceCreated, EventType::TokenCreated] {
        store
            .write(async move |tx: &WriteTx| {
                tx.append_event(event(kind));
                Ok::<_, StoreError>(())
            })
            .await
            .expect("the event is appended");
    }
    fixture
        .sql("UPDATE audit_events SET caller = 'callers/mallory' WHERE chain = 'acme' AND sequence = 2")
        .await;
    let (found, _) = walk(&store, "caller = callers/mallory", 10).await;
    assert!(
        matches!(
            found.as_slice(),
            [Err(StoreError::Tampered {
                table: "audit_events",
                ..
            })]
        ),
        "{found:?}"
    );
}
