//! The store finds the tokens that a policy change would make expire earlier. It takes no lock, counts all of them, and
//! lists them up to a limit.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokend_core::{
    policy::{Deadlines, PolicyName, PolicyState},
    text::Reason,
    time::Timestamp,
    token::{Expiry, Revocation, Token, TokenState},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{DeadlineChange, Insert, PolicyImpact, Store};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, insert_token, insert_workspace, organization, workspace, workspace_id};

on_both_databases!(
    the_affected_tokens_match_the_rules_in_core,
    a_large_workspace_is_read_in_batches
);

/// Offsets in seconds from the time of the change. Few values, so that some times are equal.
const OFFSETS: [i64; 5] = [-7_200, -3_600, 0, 3_600, 7_200];

fn at(now: Timestamp, offset: i64) -> Timestamp {
    now.saturating_add_micros(offset * 1_000_000)
}

fn offset() -> impl Strategy<Value = i64> {
    prop::sample::select(OFFSETS.to_vec())
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

fn deadlines(now: Timestamp, steps: &[(i64, i64)]) -> Deadlines {
    let micros = |offset| at(now, offset).unix_micros();
    let steps: Vec<_> = steps
        .iter()
        .map(|(created, end)| format!("{}:{}", micros(*created), micros(*end)))
        .collect();
    steps.join(" ").parse().expect("rising deadlines")
}

fn staircase() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::sample::subsequence(vec![(-7_200, -3_600), (-3_600, 0), (0, 3_600)], 0..=2)
}

async fn affected(store: &Store, edit: &DeadlineChange, limit: u64) -> PolicyImpact {
    store
        .affected_tokens(edit.clone(), limit)
        .await
        .expect("`affected_tokens` succeeds")
}

async fn the_affected_tokens_match_the_rules_in_core(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let mut runner = runner();
    let initech = organization("initech", now);
    let revocation = |offset| Revocation {
        at: at(now, offset),
        by: "root".parse().expect("an id"),
        reason: Reason::new(String::new()).expect("short"),
    };
    let revoked = (0..4)
        .map(|_| draw(&mut runner, &prop::option::weighted(0.3, offset())).map(&revocation))
        .collect::<Vec<_>>();
    let mut all = BTreeMap::new();
    let deleted = WorkspaceState::Deleted { at: now };
    for (id, state, organization) in [
        ("alone", WorkspaceState::Active, None),
        ("acme", WorkspaceState::Active, Some("initech")),
        ("beta", WorkspaceState::Suspended { at: now }, Some("initech")),
        ("gamma", WorkspaceState::Active, Some("initech")),
        ("gone", deleted, Some("initech")),
    ] {
        let own = if id == "gamma" {
            Vec::new()
        } else {
            draw(&mut runner, &staircase())
        };
        let policy = PolicyState {
            deadlines: deadlines(now, &own),
            ..PolicyState::default()
        };
        let organization = organization.map(|id| id.parse().expect("an id"));
        let workspace = Workspace {
            state,
            organization,
            policy,
            ..workspace(id, now)
        };
        assert_eq!(insert_workspace(&store, &workspace).await, Insert::Done);
        let mut tokens = Vec::new();
        for _ in 0..30 {
            let (created, end) = draw(&mut runner, &(offset(), prop::option::of(offset())));
            let own_expiry = end.map_or(Expiry::Never, |offset| Expiry::At(at(now, offset)));
            let revocation = draw(&mut runner, &prop::sample::select(revoked.clone()));
            let token = Token {
                own_expiry,
                revocation,
                ..fixture.token(&workspace.id, at(now, created))
            };
            assert_eq!(insert_token(&store, &token).await, Insert::Done);
            tokens.push(token);
        }
        all.insert(id, (workspace, tokens));
    }
    let mut some = 0;
    for _ in 0..40 {
        let (before, after) = draw(&mut runner, &(staircase(), staircase()));
        let (before, after) = (deadlines(now, &before), deadlines(now, &after));
        for of in [
            PolicyName::Organization(initech.id.clone()),
            PolicyName::Workspace(workspace_id("alone")),
            PolicyName::Workspace(workspace_id("beta")),
            PolicyName::Workspace(workspace_id("gone")),
        ] {
            let mut wanted = BTreeMap::new();
            for (workspace, tokens) in all.values() {
                let (is_bound, other) = match &of {
                    PolicyName::Organization(id) => {
                        (workspace.organization.as_ref() == Some(id), &workspace.policy.deadlines)
                    }
                    PolicyName::Workspace(id) if workspace.organization.is_some() => {
                        (workspace.id == *id, &initech.policy.deadlines)
                    }
                    PolicyName::Workspace(id) => (workspace.id == *id, &Deadlines::default()),
                };
                let (before, after) = (other.and(&before), other.and(&after));
                let mut token_context = workspace
                    .token_context(workspace.organization.as_ref().map(|_| &initech))
                    .expect("the workspace's organization");
                token_context.deadlines = before.clone();
                for token in tokens.iter().filter(|_| is_bound) {
                    // A token that is revoked later still works at the time of the change.
                    let revocation = token.revocation.clone().filter(|revocation| revocation.at <= now);
                    let then = Token {
                        revocation,
                        ..token.clone()
                    };
                    let works = matches!(
                        then.state(&token_context, now),
                        TokenState::Active | TokenState::Suspended
                    );
                    let (old, new) = (token.expiry_under(&before), token.expiry_under(&after));
                    if works && new != old && new == new.earlier(old) {
                        wanted.insert(token.name.to_string(), new.time().expect("the token expires"));
                    }
                }
            }
            let edit = DeadlineChange {
                of,
                before: before.clone(),
                after: after.clone(),
                at: now,
            };
            let found = affected(&store, &edit, 1_000).await;
            let listed: BTreeMap<_, _> = found.some.iter().map(|(name, end)| (name.to_string(), *end)).collect();
            assert_eq!(listed, wanted, "{edit:?}");
            assert_eq!(found.count, wanted.len() as u64, "{edit:?}");
            let few = affected(&store, &edit, 3).await;
            assert_eq!((few.count, few.some.len()), (found.count, wanted.len().min(3)));
            some += wanted.len();
        }
    }
    assert!(some > 100, "{some}");
}

async fn a_large_workspace_is_read_in_batches(fixture: Fixture) {
    const COPIES: u64 = 20_010;
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = Workspace {
        organization: None,
        policy: PolicyState::default(),
        ..workspace("acme", now)
    };
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    let token = Token {
        own_expiry: Expiry::Never,
        requested_expiry: Expiry::Never,
        ..fixture.token(&acme.id, now)
    };
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    // Older tokens whose rows do not verify, because they have the MAC of the original. They are counted, but not
    // listed.
    let (numbers, id) = if fixture.is_sqlite() {
        (
            format!("WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {COPIES})"),
            "randomblob(12)",
        )
    } else {
        (
            format!("WITH numbers(n) AS (SELECT generate_series(1, {COPIES}))"),
            "substr(sha256(n::text::bytea), 1, 12)",
        )
    };
    let columns = "workspace, kid, digest, resource, display_name, description, catalog_version, scopes, \
                   effective_scopes, \
                   allowed_cidrs, labels, creator, mac";
    let copied = fixture
        .sql(&format!(
            "INSERT INTO tokens (id, create_time, {columns}) {numbers} \
             SELECT {id}, create_time - n, {columns} FROM tokens, numbers"
        ))
        .await;
    assert_eq!(copied, COPIES);
    fixture
        .sql(&format!("UPDATE workspaces SET token_count = {}", COPIES + 1))
        .await;
    let edit = DeadlineChange {
        of: PolicyName::Workspace(acme.id.clone()),
        before: Deadlines::default(),
        after: deadlines(now, &[(0, 60)]),
        at: now,
    };
    let found = affected(&store, &edit, 1_000).await;
    assert_eq!((found.count, found.some), (COPIES + 1, vec![(token.name, at(now, 60))]));
}
