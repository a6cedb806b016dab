//! How many tokens work and have no successor: what the cap on them is held against.

use std::num::NonZeroU32;

use tokend_core::{
    credential::CredentialId,
    policy::PolicyState,
    text::Reason,
    time::Timestamp,
    token::{Circumstances, Expiry, Revocation, Token, TokenState},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, Store, StoreError};

use crate::support::{Fixture, insert_token, insert_workspace, on_both, workspace, workspace_id};

on_both!(what_the_core_calls_active_is_counted_if_it_has_no_successor);

const ALL: NonZeroU32 = NonZeroU32::MAX;

async fn count(store: &Store, circumstances: &Circumstances, now: Timestamp, most: NonZeroU32) -> u64 {
    let circumstances = circumstances.clone();
    let count =
        store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.working_tokens(&circumstances, now, most).await }));
    count.await.expect("it works")
}

/// Every combination of what decides, in a workspace where a deadline has ended what was made up to some time.
async fn what_the_core_calls_active_is_counted_if_it_has_no_successor(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let at = |micros: i64| now.saturating_add_micros(micros);
    let deadlines = format!("{}:{}", at(-100).unix_micros(), at(-50).unix_micros()).parse().expect("deadlines");
    let policy = PolicyState { deadlines, ..PolicyState::default() };
    let acme = Workspace { organization: None, state: WorkspaceState::Active, policy, ..workspace("acme", at(-1_000)) };
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    assert_eq!(insert_workspace(&store, &workspace("globex", now)).await, Insert::Done);
    let revoked = Revocation { at: now, by: "root".parse().expect("an id"), reason: Reason::cut("leaked") };
    let mut tokens = Vec::new();
    for own_expiry in [Expiry::Never, Expiry::At(at(-60)), Expiry::At(now), Expiry::At(at(1))] {
        for create_time in [at(-101), at(-100), at(-99)] {
            for revocation in [None, Some(revoked.clone())] {
                for rotated_to in [None, Some(CredentialId::from_bytes([7; CredentialId::BYTES]))] {
                    for workspace in ["acme", "globex"].map(workspace_id) {
                        let token = Token {
                            own_expiry,
                            requested_expiry: Expiry::Never,
                            revocation: revocation.clone(),
                            rotated_to,
                            ..fixture.token(&workspace, create_time)
                        };
                        assert_eq!(insert_token(&store, &token).await, Insert::Done);
                        tokens.push(token);
                    }
                }
            }
        }
    }
    let circumstances = acme.circumstances(None).expect("it has no organization");
    let working = |now| {
        let of_acme = tokens.iter().filter(|token| token.name.workspace == acme.id && token.rotated_to.is_none());
        of_acme.filter(|token| token.state(&circumstances, now) == TokenState::Active).count() as u64
    };
    for (moment, expected) in [(at(-70), 12), (at(-60), 9), (at(-51), 9), (at(-50), 3), (at(-1), 3), (now, 2), (at(1), 1)] {
        assert_eq!(working(moment), expected, "as the core has it, {}", moment);
        assert_eq!(count(&store, &circumstances, moment, ALL).await, expected, "{}", moment);
        for most in [1, 2, 9] {
            let most = NonZeroU32::new(most).expect("not zero");
            assert_eq!(count(&store, &circumstances, moment, most).await, expected.min(most.get().into()), "to {most}, {moment}");
        }
    }
}
