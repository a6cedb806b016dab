//! A filtered list of tokens returns what the filter in core matches, and examines a limited number of rows per call.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokend_core::{
    filter::TokenFilter,
    labels::Labels,
    policy::PolicyState,
    resource::Resource,
    scope::GrantedScopes,
    text::Reason,
    time::Timestamp,
    token::usage::{RecentAddresses, Usage},
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, MAX_COUNTED, MAX_EXAMINED, Store, StoreError, TokenCursor, TokenPage};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, after, insert_token, insert_workspace, workspace, workspace_id};

on_both_databases!(
    filtered_lists_match_the_filter_in_core,
    a_call_examines_a_limited_number_of_rows,
    counting_stops_at_a_limit,
    a_tampered_row_is_reported_and_hides_no_others,
);

const WORKSPACES: [&str; 3] = ["acme", "hooli", "globex"];
const RESOURCES: [&str; 6] = ["", "/a", "/a/b", "/a-b", "/a%25", "/A"];
const LABELS: [&str; 7] = [
    "",
    "web",
    "we",
    "a \"b\" \\ 'c'",
    "\"team\":\"web\"",
    "team",
    "grün 🦀%_",
];
const KEYS: [&str; 3] = ["team", "eam", "t_m"];
/// Some texts are prefixes, suffixes or infixes of others.
const SCOPES: [&str; 5] = ["a", "a:b", "ba", "c.a:b", "a_b"];
const CREATORS: [&str; 2] = ["root", "ro-ot"];
/// Offsets in seconds from now for the times in tokens and filters. Few values, so that some times are equal.
const OFFSETS: [i64; 5] = [-7_200, -3_600, 0, 3_600, 7_200];

fn at(now: Timestamp, offset: i64) -> Timestamp {
    now.saturating_add_micros(offset * 1_000_000)
}

fn sampled(texts: &[&'static str]) -> BoxedStrategy<&'static str> {
    prop::sample::select(texts.to_vec()).boxed()
}

fn comparisons(now: Timestamp) -> impl Strategy<Value = String> {
    let plain = || sampled(&["=", "!=", ":"]);
    let time = move || prop::sample::select(OFFSETS.to_vec()).prop_map(move |offset| at(now, offset).to_string());
    let order = || sampled(&["=", "!=", "<", "<=", ">", ">="]);
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    prop_oneof![
        (plain(), sampled(&["ACTIVE", "EXPIRED", "REVOKED", "SUSPENDED"]))
            .prop_map(|(op, state)| format!("state {op} {state}")),
        (plain(), sampled(&SCOPES)).prop_map(|(op, scope)| format!("scopes {op} {scope}")),
        (plain(), sampled(&KEYS), sampled(&LABELS))
            .prop_map(move |(op, key, value)| format!("labels.{key} {op} {}", quoted(value))),
        sampled(&KEYS).prop_map(|key| format!("labels.{key}:*")),
        (plain(), sampled(&CREATORS)).prop_map(|(op, id)| format!("creator {op} callers/{id}")),
        (order(), time()).prop_map(|(op, time)| format!("create_time {op} {time}")),
        (order(), time()).prop_map(|(op, time)| format!("expire_time {op} {time}")),
        sampled(&["=", "!="]).prop_map(|op| format!("expire_time {op} never")),
        (order(), time()).prop_map(|(op, time)| format!("last_used_time {op} {time}")),
        (plain(), sampled(&["true", "false"])).prop_map(|(op, is)| format!("unused {op} {is}")),
        (plain(), sampled(&WORKSPACES), sampled(&RESOURCES))
            .prop_map(|(op, workspace, below)| format!("resource {op} workspaces/{workspace}{below}")),
    ]
}

fn filters(now: Timestamp) -> impl Strategy<Value = String> {
    comparisons(now).prop_recursive(3, 12, 3, |inner| {
        (prop::collection::vec(inner, 2..4), any::<bool>())
            .prop_map(|(parts, all)| format!("({})", parts.join(if all { ") AND (" } else { ") OR (" })))
    })
}

/// All properties of a token that a filter can restrict.
type Drawn = (
    BTreeMap<&'static str, &'static str>,
    Vec<&'static str>,
    Option<i64>,
    i64,
    bool,
    &'static str,
    &'static str,
);

fn drawn() -> impl Strategy<Value = Drawn> {
    let offset = || prop::sample::select(OFFSETS.to_vec());
    (
        prop::collection::btree_map(sampled(&KEYS), sampled(&LABELS), 0..=3),
        prop::sample::subsequence(SCOPES.to_vec(), 1..=3),
        prop::option::of(offset()),
        offset(),
        prop::bool::weighted(0.3),
        sampled(&CREATORS),
        sampled(&RESOURCES),
    )
}

fn token(fixture: &Fixture, of: &Workspace, now: Timestamp, drawn: Drawn) -> Token {
    let (labels, scopes, expiry, created, revoked, creator, below) = drawn;
    let scopes: Vec<_> = scopes
        .into_iter()
        .map(|scope| scope.parse().expect("a scope"))
        .collect();
    let labels = labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let by = "root".parse().expect("an id");
    Token {
        labels: Labels::new(labels).expect("labels"),
        scopes: GrantedScopes::from_stored(1, scopes.clone(), scopes).expect("scopes"),
        own_expiry: expiry.map_or(Expiry::Never, |offset| Expiry::At(at(now, offset))),
        revocation: revoked.then(|| Revocation {
            at: now,
            by,
            reason: Reason::new(String::new()).expect("a reason"),
        }),
        creator: creator.parse().expect("an id"),
        resource: Resource::new(format!("workspaces/{}{below}", of.id)).expect("a resource"),
        ..fixture.token(&of.id, at(now, created))
    }
}

fn usage(last_used_time: Timestamp) -> Usage {
    Usage {
        last_used_time,
        addresses: RecentAddresses::default(),
        asked_scopes: BTreeSet::new(),
    }
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

async fn page(store: &Store, workspace: &str, filter: &str, after: Option<TokenCursor>, limit: u64) -> TokenPage {
    let filter: TokenFilter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
    store
        .filtered_tokens(&workspace_id(workspace), filter, after, limit)
        .await
        .expect("`filtered_tokens` succeeds")
        .expect("the workspace exists")
}

/// Reads all pages and returns their tokens and the number of pages.
async fn walk(store: &Store, workspace: &str, filter: &str, limit: u64) -> (Vec<Result<Token, StoreError>>, usize) {
    let (mut tokens, mut place, mut pages) = (Vec::new(), None, 0);
    loop {
        let TokenPage {
            tokens: found,
            next,
            total_size,
            ..
        } = page(store, workspace, filter, place, limit).await;
        assert!(found.len() as u64 <= limit);
        tokens.extend(found);
        pages += 1;
        let Some(cursor) = next else { return (tokens, pages) };
        let next = TokenCursor { cursor, total_size };
        // Encode and decode the cursor, as a page token does.
        place = Some(TokenCursor::from_bytes(&next.to_bytes()).expect("the cursor is decoded"));
    }
}

async fn filtered_lists_match_the_filter_in_core(fixture: Fixture) {
    let store = fixture.initialized().await;
    // On SQLite, time stands still until the clock reaches this floor: some tokens expire at exactly that time.
    let now = after(store.now().await.expect("time"), 600);
    store.raise_time_floor(now).await.expect("the floor is stored");
    let mut runner = runner();
    let states = [
        WorkspaceState::Active,
        WorkspaceState::Suspended { at: now },
        WorkspaceState::Deleted { at: now },
    ];
    let mut all = BTreeMap::new();
    let step = |until: i64, end: i64| format!("{}:{}", at(now, until).unix_micros(), at(now, end).unix_micros());
    let steps = [
        format!("{} {}", step(-3_600, 0), step(0, 3_600)),
        String::new(),
        step(-3_600, -1_800),
    ];
    for ((id, state), steps) in WORKSPACES.into_iter().zip(states).zip(steps) {
        let policy = PolicyState {
            deadlines: steps.parse().expect("deadlines"),
            ..PolicyState::default()
        };
        let workspace = Workspace {
            state,
            organization: None,
            policy,
            ..workspace(id, now)
        };
        let token_context = workspace
            .token_context(None)
            .expect("the workspace has no organization");
        assert_eq!(insert_workspace(&store, &workspace).await, Insert::Done);
        let tokens: Vec<_> = (0..40)
            .map(|_| token(&fixture, &workspace, now, draw(&mut runner, &drawn())))
            .collect();
        let mut used = BTreeMap::new();
        for token in &tokens {
            assert_eq!(insert_token(&store, token).await, Insert::Done);
            let last_used = draw(&mut runner, &prop::option::of(prop::sample::select(OFFSETS.to_vec())));
            used.extend(last_used.map(|offset| (token.name.id, usage(at(now, offset)))));
        }
        assert!((1..tokens.len()).contains(&used.len()), "some tokens were used");
        store.record_usage(used.clone()).await.expect("the usage is recorded");
        let mut by_place = tokens;
        by_place.sort_unstable_by_key(|token| std::cmp::Reverse((token.create_time, token.name.id)));
        all.insert(id, (token_context, by_place, used));
    }
    let (mut some, strategy) = (0, filters(now));
    for number in 0..80 {
        let text = draw(&mut runner, &strategy);
        let filter: TokenFilter = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        for (id, (token_context, tokens, used)) in &all {
            let first = page(&store, id, &text, None, 1).await;
            assert!(first.now == now || !fixture.is_sqlite());
            let is_wanted = |token: &&Token| filter.matches(token, used.get(&token.name.id), token_context, first.now);
            let wanted: Vec<_> = tokens.iter().filter(is_wanted).cloned().collect();
            // No token expires between this time and the query.
            let (found, _) = walk(&store, id, &text, if number % 2 == 0 { 7 } else { 1_000 }).await;
            let found: Vec<_> = found
                .into_iter()
                .map(|token| token.expect("the row is intact"))
                .collect();
            assert_eq!(found, wanted, "{text} in {id}");
            assert_eq!(
                first.total_size,
                wanted.len() as u64,
                "{text} in {id}: the database finds no other tokens"
            );
            some += usize::from((1..tokens.len()).contains(&wanted.len()));
        }
    }
    assert!(some > 40, "too few filters match only some of the tokens: {some}");
}

/// Creates `count` copies of a row, each one microsecond older than the one before. The copies do not verify, because
/// they have the MAC of the original.
async fn copy(fixture: &Fixture, token: &Token, count: u64) {
    let numbers = if fixture.is_sqlite() {
        format!("WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})")
    } else {
        format!("WITH numbers(n) AS (SELECT generate_series(1, {count}))")
    };
    let id = if fixture.is_sqlite() {
        "randomblob(12)"
    } else {
        "substr(sha256(n::text::bytea), 1, 12)"
    };
    let columns = "workspace, kid, digest, resource, display_name, description, catalog_version, scopes, \
                   effective_scopes, allowed_cidrs, \
                   labels, creator, expire_time, revoke_time, revoker, revoke_reason, mac";
    let of = fixture.bytes(token.name.id.as_bytes());
    let insert = format!(
        "INSERT INTO tokens (id, create_time, {columns}) {numbers} \
         SELECT {id}, create_time - n, {columns} FROM tokens, numbers \
         WHERE id = {of}"
    );
    assert_eq!(fixture.sql(&insert).await, count);
}

async fn a_call_examines_a_limited_number_of_rows(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let acme = workspace_id("acme");
    let labeled = |value: &str, time| Token {
        labels: Labels::new([("team".to_owned(), value.to_owned())].into()).expect("labels"),
        ..fixture.token(&acme, time)
    };
    let [newest, oldest] = [labeled("web", after(now, 60)), labeled("web", at(now, -60))];
    let others = labeled("other", now);
    for token in [&newest, &oldest, &others] {
        assert_eq!(insert_token(&store, token).await, Insert::Done);
    }
    // Together with the newest token, exactly the number of rows that a call examines. The oldest token comes after
    // them.
    copy(&fixture, &others, MAX_EXAMINED - 2).await;
    let filter = "labels.team = web";
    let first = page(&store, "acme", filter, None, 10).await;
    assert_eq!(first.tokens.len(), 1, "the page is short");
    assert_eq!(first.total_size, 2, "the total counts beyond the page");
    let next = first.next.expect("more rows to examine");
    let place = TokenCursor {
        cursor: next,
        total_size: first.total_size,
    };
    let second = page(&store, "acme", filter, Some(place), 10).await;
    assert_eq!((second.tokens.len(), second.next.is_none()), (1, true));

    let (found, pages) = walk(&store, "acme", filter, 1).await;
    let found: Vec<_> = found
        .into_iter()
        .map(|token| token.expect("the row is intact"))
        .collect();
    assert_eq!((found, pages), (vec![newest, oldest], 2), "all tokens are found");
    let (none, pages) = walk(&store, "acme", "labels.team = nobody", 10).await;
    assert_eq!((none.len(), pages), (0, 2), "an empty page can have a next one");
}

async fn counting_stops_at_a_limit(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = Workspace {
        organization: None,
        policy: PolicyState::default(),
        ..workspace("acme", now)
    };
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    copy(&fixture, &token, MAX_COUNTED - 2).await;
    let count = async || page(&store, "acme", "state = SUSPENDED", None, 1).await.total_size;
    assert_eq!(count().await, MAX_COUNTED - 1);
    for seconds in 1..=2 {
        assert_eq!(
            insert_token(&store, &fixture.token(&workspace_id("acme"), after(now, seconds))).await,
            Insert::Done
        );
        assert_eq!(count().await, MAX_COUNTED);
    }
    // Later pages return the total of the first page.
    fixture.set_clock_ahead(Duration::from_secs(1));
    let first = page(&store, "acme", "state = SUSPENDED", None, 1).await;
    let place = TokenCursor {
        cursor: first.next.expect("a next page"),
        total_size: 7,
    };
    assert_eq!(
        page(&store, "acme", "state = SUSPENDED", Some(place), 1)
            .await
            .total_size,
        7
    );
}

async fn a_tampered_row_is_reported_and_hides_no_others(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let mut ids = Vec::new();
    for seconds in 0..3 {
        let token = fixture.token(&workspace_id("acme"), after(now, seconds));
        assert_eq!(insert_token(&store, &token).await, Insert::Done);
        ids.push(token.name.id);
    }
    // A tampered row pretends to match the filter.
    let id = fixture.bytes(ids[1].as_bytes());
    fixture
        .sql(&format!("UPDATE tokens SET creator = 'mallory' WHERE id = {id}"))
        .await;
    let (found, _) = walk(&store, "acme", "creator = callers/mallory", 10).await;
    assert!(
        matches!(found.as_slice(), [Err(StoreError::Tampered { table: "tokens", .. })]),
        "{found:?}"
    );
    let (found, _) = walk(&store, "acme", "scopes:webhook", 10).await;
    let good: Vec<_> = found.iter().flatten().map(|token| token.name.id).collect();
    assert_eq!((found.len(), good), (3, vec![ids[2], ids[0]]));
}
