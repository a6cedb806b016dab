//! The maximum number of active tokens applies to working tokens, of which each rotation chain counts as one.

use std::num::NonZeroU32;

use tokend_core::{
    credential::CredentialId,
    policy::PolicyState,
    text::Reason,
    time::Timestamp,
    token::{Expiry, Revocation, Token, TokenContext, TokenState},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, insert_token, insert_workspace, workspace, workspace_id};

on_both_databases!(active_tokens_are_counted_once_per_rotation_chain);

const ALL: NonZeroU32 = NonZeroU32::MAX;

async fn count(store: &Store, token_context: &TokenContext, now: Timestamp, most: NonZeroU32) -> u64 {
    let token_context = token_context.clone();
    let count =
        store.write::<_, StoreError, _>(async move |tx: &WriteTx| tx.working_tokens(&token_context, now, most).await);
    count.await.expect("`working_tokens` succeeds")
}

/// Tests every combination of token states, in a workspace in which a deadline expired all tokens created up to some
/// time.
async fn active_tokens_are_counted_once_per_rotation_chain(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let at = |micros: i64| now.saturating_add_micros(micros);
    let deadlines = format!("{}:{}", at(-100).unix_micros(), at(-50).unix_micros())
        .parse()
        .expect("deadlines");
    let policy = PolicyState {
        deadlines,
        ..PolicyState::default()
    };
    let acme = Workspace {
        organization: None,
        state: WorkspaceState::Active,
        policy,
        ..workspace("acme", at(-1_000))
    };
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    assert_eq!(insert_workspace(&store, &workspace("globex", now)).await, Insert::Done);
    let revoked = Revocation {
        at: now,
        by: "root".parse().expect("an id"),
        reason: Reason::cut("leaked"),
    };
    let mut tokens = Vec::new();
    for own_expiry in [Expiry::Never, Expiry::At(at(-60)), Expiry::At(now), Expiry::At(at(1))] {
        for create_time in [at(-101), at(-100), at(-99)] {
            for revocation in [None, Some(revoked.clone())] {
                for of_predecessor in [None, Some(Expiry::Never), Some(Expiry::At(at(-60)))] {
                    for workspace in ["acme", "globex"].map(workspace_id) {
                        let head = Token {
                            own_expiry,
                            requested_expiry: Expiry::Never,
                            revocation: revocation.clone(),
                            rotated_to: None,
                            ..fixture.token(&workspace, create_time)
                        };
                        let predecessor = of_predecessor.map(|own_expiry| Token {
                            own_expiry,
                            requested_expiry: Expiry::Never,
                            rotated_to: Some(head.name.id),
                            ..fixture.token(&workspace, at(-99))
                        });
                        for token in [head].into_iter().chain(predecessor) {
                            assert_eq!(insert_token(&store, &token).await, Insert::Done);
                            tokens.push(token);
                        }
                    }
                }
            }
        }
    }
    let token_context = acme.token_context(None).expect("the workspace has no organization");
    let is_active = |token: &Token, now| token.state(&token_context, now) == TokenState::Active;
    let active = |id: CredentialId, now| tokens.iter().any(|token| token.name.id == id && is_active(token, now));
    let of_acme: Vec<_> = tokens.iter().filter(|token| token.name.workspace == acme.id).collect();
    for (moment, heads, predecessors) in [
        (at(-70), 36, 24),
        (at(-60), 27, 15),
        (at(-51), 27, 15),
        (at(-50), 9, 21),
        (at(-1), 9, 21),
        (now, 6, 22),
        (at(1), 3, 23),
    ] {
        let counted = |is_head: bool| {
            let counted = of_acme
                .iter()
                .filter(|token| token.rotated_to.is_none() == is_head && is_active(token, moment));
            counted
                .filter(|token| !token.rotated_to.is_some_and(|to| active(to, moment)))
                .count() as u64
        };
        assert_eq!(
            (counted(true), counted(false)),
            (heads, predecessors),
            "the core has the same count, {moment}"
        );
        let expected = heads + predecessors;
        assert_eq!(count(&store, &token_context, moment, ALL).await, expected, "{moment}");
        for most in [1, 2, 9, 40] {
            let most = NonZeroU32::new(most).expect("not zero");
            assert_eq!(
                count(&store, &token_context, moment, most).await,
                expected.min(most.get().into()),
                "to {most}, {moment}"
            );
        }
    }
}
