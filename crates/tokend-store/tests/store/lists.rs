//! Pages of lists stay stable while rows are created, and a tampered row does not hide others.

use std::{collections::BTreeSet, time::Duration};

use tokend_core::{caller::CallerKey, credential::CredentialId, token::Token, workspace::Workspace};
use tokend_store::{Insert, Store, StoreError, TimeCursor};
use tokend_test_support::on_both_databases;

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, workspace, workspace_id,
};

on_both_databases!(
    pages_of_tokens_are_stable,
    pages_of_keys_are_newest_first,
    workspaces_organizations_and_callers_are_listed_by_id,
    one_bad_row_does_not_hide_the_others,
    active_tokens_are_counted,
);

async fn pages_of_tokens_are_stable(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    for id in ["acme", "globex"] {
        assert_eq!(insert_workspace(&store, &workspace(id, now)).await, Insert::Done);
    }
    let acme = workspace_id("acme");
    assert_eq!(
        insert_token(&store, &fixture.token(&workspace_id("globex"), now)).await,
        Insert::Done
    );
    // Four tokens per create time, ordered by id.
    let mut expected = Vec::new();
    for number in 0..24 {
        let token = fixture.token(&acme, after(now, number / 4));
        assert_eq!(insert_token(&store, &token).await, Insert::Done);
        expected.push((token.create_time, token.name.id));
    }
    expected.sort_unstable_by(|one, other| other.cmp(one));

    let (mut found, mut after_place, mut size) = (Vec::new(), None, 24);
    loop {
        let page = store
            .list_tokens(&acme, after_place, 5)
            .await
            .expect("`list_tokens` succeeds")
            .expect("the parent exists");
        assert_eq!(page.total_size, size);
        assert!(page.tokens.len() <= 5);
        found.extend(
            page.tokens
                .into_iter()
                .map(|token| token.expect("the row is intact"))
                .map(|token| (token.create_time, token.name.id)),
        );
        // Create a token at the start of the list, and one in the middle, which needs a clock that was set back.
        for time in [after(now, 60), after(now, 2)] {
            let token = fixture.token(&acme, time);
            assert_eq!(insert_token(&store, &token).await, Insert::Done);
            size += 1;
        }
        match page.next {
            None => break,
            // Encode and decode the cursor, as a page token does.
            Some(next) => after_place = Some(TimeCursor::from_bytes(&next.to_bytes()).expect("the cursor is decoded")),
        }
    }
    found.retain(|place| expected.contains(place));
    assert_eq!(found, expected);
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), found.len());
}

async fn pages_of_keys_are_newest_first(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    assert_eq!(insert_caller(&store, &ci).await, Insert::Done);
    let mut expected = Vec::new();
    for number in 0..5 {
        let key = CallerKey {
            create_time: after(now, number / 2),
            ..fixture.caller_key(&ci)
        };
        assert_eq!(insert_caller_key(&store, &key).await, Insert::Done);
        expected.push(key);
    }
    expected.sort_unstable_by_key(|key| std::cmp::Reverse((key.create_time, key.name.id)));
    let (mut found, mut after_place) = (Vec::new(), None);
    loop {
        let page = store
            .list_caller_keys(&ci.id, after_place, 2)
            .await
            .expect("`list_caller_keys` succeeds")
            .expect("the parent exists");
        assert!(page.now >= now);
        found.extend(page.keys.into_iter().map(|key| key.expect("the row is intact")));
        after_place = page.next;
        if after_place.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
}

async fn workspaces_organizations_and_callers_are_listed_by_id(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    // Ids that a language's collation would order differently.
    let ids = ["a-z", "a0", "aa", "ab-c", "abc", "b1"];
    for id in ids.iter().rev() {
        let organization = Some(id.parse().expect("an id"));
        assert_eq!(
            insert_workspace(
                &store,
                &Workspace {
                    organization,
                    ..workspace(id, now)
                }
            )
            .await,
            Insert::Done
        );
        assert_eq!(insert_caller(&store, &caller(id, now)).await, Insert::Done);
    }
    let (mut workspaces, mut callers, mut next_workspace, mut next_caller) = (Vec::new(), Vec::new(), None, None);
    let (mut organizations, mut next_organization) = (Vec::new(), None);
    for page in 0..3 {
        let listed = store
            .list_workspaces(next_workspace, 2)
            .await
            .expect("`list_workspaces` succeeds");
        workspaces.extend(
            listed
                .workspaces
                .into_iter()
                .map(|workspace| workspace.expect("the row is intact").workspace.id.to_string()),
        );
        next_workspace = listed.next;
        assert_eq!(next_workspace.is_some(), page < 2);
        let listed = store
            .list_organizations(next_organization, 2)
            .await
            .expect("`list_organizations` succeeds");
        organizations.extend(
            listed
                .organizations
                .into_iter()
                .map(|organization| organization.expect("the row is intact").id.to_string()),
        );
        next_organization = listed.next;
        assert_eq!(next_organization.is_some(), page < 2);
        let listed = store
            .list_callers(next_caller, 3)
            .await
            .expect("`list_callers` succeeds");
        callers.extend(
            listed
                .callers
                .into_iter()
                .map(|caller| caller.expect("the row is intact").id.to_string()),
        );
        next_caller = listed.next;
        assert_eq!(next_caller.is_some(), page < 2);
    }
    assert_eq!(workspaces, ids);
    assert_eq!(organizations, ids);
    assert_eq!(callers, [ids.as_slice(), &["root"]].concat());
}

async fn one_bad_row_does_not_hide_the_others(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace_id("acme");
    let mut ids = Vec::new();
    for number in 0..5 {
        let name = ["acme", "globex", "hooli", "initech", "umbrella"][number];
        assert_eq!(insert_workspace(&store, &workspace(name, now)).await, Insert::Done);
        assert_eq!(insert_caller(&store, &caller(name, now)).await, Insert::Done);
        let token = fixture.token(&acme, after(now, 10 - number as u64));
        assert_eq!(insert_token(&store, &token).await, Insert::Done);
        ids.push(token.name.id);
    }
    let edit =
        |set: &str, id: CredentialId| format!("UPDATE tokens SET {set} WHERE id = {}", fixture.bytes(id.as_bytes()));
    fixture.sql(&edit("scopes = ''", ids[1])).await;
    fixture.sql(&edit("allowed_cidrs = '*'", ids[3])).await;
    fixture
        .sql("UPDATE workspaces SET state = 'GONE' WHERE id = 'globex'")
        .await;
    fixture
        .sql("UPDATE callers SET role = 'ADMIN' WHERE id = 'initech'")
        .await;

    for limit in [5, 2] {
        // With a limit of one, each tampered row has its own page.
        let tokens = all_tokens(&store, limit).await;
        let good: Vec<_> = tokens
            .iter()
            .filter_map(|token| token.as_ref().ok())
            .map(|token| token.name.id)
            .collect();
        assert_eq!(good, [ids[0], ids[2], ids[4]]);
        assert!(
            matches!(&tokens[1], Err(StoreError::Corrupt { table: "tokens", row, .. }) if *row == ids[1].to_string()),
            "{tokens:?}"
        );
        assert!(
            matches!(&tokens[3], Err(StoreError::Tampered { table: "tokens", row, .. }) if *row == ids[3].to_string()),
            "{tokens:?}"
        );
    }
    let workspaces = store
        .list_workspaces(None, 10)
        .await
        .expect("`list_workspaces` succeeds")
        .workspaces;
    assert!(
        matches!(&workspaces[1], Err(StoreError::Corrupt { table: "workspaces", row, .. }) if row == "globex"),
        "{workspaces:?}"
    );
    assert_eq!(workspaces.iter().filter(|workspace| workspace.is_ok()).count(), 4);
    let callers = store
        .list_callers(None, 10)
        .await
        .expect("`list_callers` succeeds")
        .callers;
    assert!(
        matches!(&callers[3], Err(StoreError::Tampered { table: "callers", row, .. }) if row == "initech"),
        "{callers:?}"
    );
    assert_eq!(callers.iter().filter(|caller| caller.is_ok()).count(), 5);
}

async fn all_tokens(store: &Store, limit: u64) -> Vec<Result<Token, StoreError>> {
    let (mut tokens, mut after_place) = (Vec::new(), None);
    loop {
        let page = store
            .list_tokens(&workspace_id("acme"), after_place, limit)
            .await
            .expect("`list_tokens` succeeds")
            .expect("the parent exists");
        tokens.extend(page.tokens);
        after_place = page.next;
        if after_place.is_none() {
            return tokens;
        }
    }
}

async fn active_tokens_are_counted(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace_id("acme");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let count = || async {
        store
            .workspace(&acme)
            .await
            .expect("`workspace` succeeds")
            .expect("the parent exists")
            .active_token_count
    };
    for expected in 1..=3 {
        // Each token lives for an hour.
        assert_eq!(
            insert_token(&store, &fixture.token(&acme, after(now, expected * 600))).await,
            Insert::Done
        );
        assert_eq!(count().await, expected);
    }
    for (minutes, expected) in [(69, 3), (71, 2), (81, 1), (91, 0)] {
        fixture.set_clock_ahead(Duration::from_secs(minutes * 60));
        assert_eq!(count().await, expected, "after {minutes} minutes");
    }
}
