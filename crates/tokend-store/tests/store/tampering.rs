//! The store detects a direct edit of any covered column, and reports an unreadable row with an error that names it,
//! not with a panic.

use std::collections::BTreeSet;

use tokend_core::{
    caller::{Caller, CallerKey},
    credential::CredentialId,
    organization::Organization,
    row_mac::Sealed,
    text::Reason,
    token::{Revocation, Token},
    workspace::Workspace,
};
use tokend_store::{Insert, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_organization, insert_token, insert_workspace,
    organization, workspace, workspace_id,
};

on_both_databases!(
    every_covered_column_of_tokens,
    every_covered_column_of_workspaces,
    every_covered_column_of_organizations,
    every_covered_column_of_callers,
    every_covered_column_of_caller_keys,
    unreadable_rows_are_named,
    a_certificate_name_of_another_caller_is_rejected,
);

/// Columns of `table` that no MAC covers, because neither a verdict nor an authorization reads them.
const UNCOVERED: [(&str, &[&str]); 5] = [
    (Organization::TABLE, &["display_name"]),
    (Token::TABLE, &["description", "revoke_reason"]),
    (Workspace::TABLE, &["display_name", "token_count"]),
    (Caller::TABLE, &[]),
    (CallerKey::TABLE, &[]),
];

/// Edits one column after the other (`edits`: the column and the new value), calls `read`, and restores the column.
///
/// Also fails if a column is neither edited nor listed as uncovered, so that a migration's new column is not forgotten.
async fn each_edit_is_found<F: Future<Output = Result<(), StoreError>>>(
    fixture: &Fixture,
    table: &'static str,
    row: &str,
    edits: &[(&str, String)],
    read: impl Fn() -> F,
) {
    let columns = columns(fixture, table).await;
    let uncovered = UNCOVERED.iter().find(|(name, _)| *name == table).expect("a table").1;
    let thought_of: BTreeSet<_> = edits
        .iter()
        .map(|(column, _)| *column)
        .chain(uncovered.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(thought_of, columns);

    fixture
        .sql(&format!("CREATE TABLE original AS SELECT * FROM {table} WHERE {row}"))
        .await;
    for (column, set) in edits {
        read()
            .await
            .unwrap_or_else(|error| panic!("before {column} was edited: {error}"));
        assert_eq!(
            fixture.sql(&format!("UPDATE {table} SET {set} WHERE {row}")).await,
            1,
            "{column}"
        );
        match read().await {
            Err(StoreError::Tampered { table: named, row, .. }) => {
                assert!(named == table && !row.is_empty(), "{column}: {named} {row}")
            }
            other => panic!("{table}: {set}: {other:?}"),
        }
        let names: Vec<_> = columns.iter().map(String::as_str).collect();
        let restored: Vec<_> = names
            .iter()
            .map(|name| format!("{name} = (SELECT {name} FROM original)"))
            .collect();
        assert_eq!(
            fixture
                .sql(&format!("UPDATE {table} SET {} WHERE {row}", restored.join(", ")))
                .await,
            1
        );
    }
    read().await.expect("the restored row is read");
}

async fn columns(fixture: &Fixture, table: &str) -> BTreeSet<String> {
    let query = if fixture.is_sqlite() {
        format!("SELECT name FROM pragma_table_info('{table}')")
    } else {
        format!("SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}'")
    };
    fixture.column(&query).await.into_iter().collect()
}

fn edit<'a>(column: &'a str, value: &str) -> (&'a str, String) {
    (column, format!("{column} = {value}"))
}

async fn every_covered_column_of_tokens(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    for id in ["acme", "globex"] {
        assert_eq!(insert_workspace(&store, &workspace(id, now)).await, Insert::Done);
    }
    let revocation = Revocation {
        at: now,
        by: "root".parse().expect("an id"),
        reason: Reason::new("leaked".to_owned()).expect("short"),
    };
    let token = Token {
        revocation: Some(revocation),
        ..fixture.token(&workspace_id("acme"), now)
    };
    assert_eq!(insert_token(&store, &token).await, Insert::Done);

    let edits = [
        edit("workspace", "'globex'"),
        edit("kid", "'Z'"),
        edit("digest", &fixture.bytes(&[7; 32])),
        edit("resource", "'workspaces/acme'"),
        edit("display_name", "'deploy'"),
        edit("labels", "'{}'"),
        edit("catalog_version", "catalog_version + 1"),
        edit("scopes", "'webhook'"),
        edit("scopes", "'webhook pullrequest:write'"),
        edit("effective_scopes", "effective_scopes || ' repository:admin'"),
        edit("allowed_cidrs", "'*'"),
        edit("allowed_cidrs", "allowed_cidrs || ' 0.0.0.0/0'"),
        edit("create_time", "create_time + 1"),
        edit("creator", "'someone'"),
        edit("expire_time", "NULL"),
        edit("expire_time", "expire_time + 1"),
        edit("requested_expire_time", "NULL"),
        edit("requested_expire_time", "expire_time"),
        edit("rotated_from", "NULL"),
        edit("rotated_to", "NULL"),
        edit("rotated_to", "rotated_from"),
        (
            "revoke_time",
            "revoke_time = NULL, revoker = NULL, revoke_reason = NULL".to_owned(),
        ),
        edit("revoke_time", "revoke_time + 1"),
        edit("revoker", "'someone'"),
        edit("mac", &fixture.bytes(&[1; 34])),
        edit("mac", &fixture.bytes(b"short")),
        edit("id", &fixture.bytes(&OTHER_ID)),
    ];
    let (own, other) = (token.name.id, CredentialId::from_bytes(OTHER_ID));
    each_edit_is_found(&fixture, Token::TABLE, "true", &edits, || async {
        match store.token_snapshot(own).await? {
            Some(_) => Ok(()),
            None => store
                .token_snapshot(other)
                .await
                .map(|found| assert!(found.is_some(), "the row exists")),
        }
    })
    .await;
}

async fn every_covered_column_of_workspaces(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let edits = [
        edit("id", "'globex'"),
        edit("organization", "NULL"),
        edit("organization", "'umbrella'"),
        edit("state", "'DELETED'"),
        ("state", "state = 'ACTIVE', state_time = NULL".to_owned()),
        edit("state_time", "state_time + 1"),
        edit("create_time", "create_time + 1"),
        edit("policy", "''"),
        edit("policy", "'{}'"),
        edit("policy_update_time", "NULL"),
        edit("policy_update_time", "policy_update_time + 1"),
        edit("policy_deadlines", "''"),
        edit("policy_deadlines", "'1:2'"),
        edit("mac", &fixture.bytes(&[1; 34])),
    ];
    each_edit_is_found(&fixture, Workspace::TABLE, "true", &edits, || async {
        let first = store.list_workspaces(None, 1).await?.workspaces.remove(0);
        let one = store.workspace(&workspace_id("acme")).await;
        // A read by id either does not find the row or detects the edit.
        assert!(first.is_ok() || !matches!(one, Ok(Some(_))));
        first.map(drop)
    })
    .await;
}

async fn every_covered_column_of_organizations(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(
        insert_organization(&store, &organization("initech", now)).await,
        Insert::Done
    );
    let edits = [
        edit("id", "'umbrella'"),
        edit("create_time", "create_time + 1"),
        edit("policy", "''"),
        edit("policy_update_time", "NULL"),
        edit("policy_deadlines", "''"),
        edit("policy_deadlines", "'1:2'"),
        edit("mac", &fixture.bytes(&[1; 34])),
    ];
    each_edit_is_found(&fixture, Organization::TABLE, "true", &edits, || async {
        let first = store.list_organizations(None, 1).await?.organizations.remove(0);
        let one = store.organization(&"initech".parse().expect("an id")).await;
        // A read by id either does not find the row or detects the edit.
        assert!(first.is_ok() || !matches!(one, Ok(Some(_))));
        first.map(drop)
    })
    .await;
}

async fn every_covered_column_of_callers(fixture: Fixture) {
    let store = fixture.initialized().await;
    let edits = [
        edit("id", "'rooot'"),
        edit("role", "'ADMIN'"),
        edit("workspaces", "'*'"),
        edit("workspaces", "'acme globex initech'"),
        edit("certificate_sans", "'[\"evil.example.org\"]'"),
        edit("create_time", "create_time + 1"),
        edit("mac", &fixture.bytes(&[1; 34])),
    ];
    // The id of a caller that has keys can't be edited.
    fixture.sql("DELETE FROM caller_keys").await;
    each_edit_is_found(&fixture, Caller::TABLE, "true", &edits, || async {
        store.list_callers(None, 1).await?.callers.remove(0).map(drop)
    })
    .await;
}

async fn every_covered_column_of_caller_keys(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (ci, other) = (caller("ci", now), caller("other", now));
    for caller in [&ci, &other] {
        assert_eq!(insert_caller(&store, caller).await, Insert::Done);
    }
    fixture.sql("DELETE FROM caller_keys").await;
    let key = CallerKey {
        revoke_time: Some(after(now, 1)),
        ..fixture.caller_key(&ci)
    };
    assert_eq!(insert_caller_key(&store, &key).await, Insert::Done);
    let edits = [
        edit("id", &fixture.bytes(&OTHER_ID)),
        edit("caller", "'other'"),
        edit("kid", "'Z'"),
        edit("digest", &fixture.bytes(&[7; 32])),
        edit("create_time", "create_time + 1"),
        edit("expire_time", "expire_time + 1"),
        edit("revoke_time", "NULL"),
        edit("revoke_time", "revoke_time + 1"),
        edit("mac", &fixture.bytes(&[1; 34])),
    ];
    let (own, other) = (key.name.id, CredentialId::from_bytes(OTHER_ID));
    each_edit_is_found(&fixture, CallerKey::TABLE, "true", &edits, || async {
        match store.caller_key_snapshot(own).await? {
            Some(_) => Ok(()),
            None => store
                .caller_key_snapshot(other)
                .await
                .map(|found| assert!(found.is_some(), "the row exists")),
        }
    })
    .await;
}

async fn unreadable_rows_are_named(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    fixture.sql("CREATE TABLE original AS SELECT * FROM tokens").await;
    for (column, value) in [
        ("scopes", "''"),
        ("scopes", "'UPPER'"),
        ("scopes", "'webhook  webhook'"),
        ("effective_scopes", "'webhook'"),
        ("allowed_cidrs", "''"),
        ("allowed_cidrs", "'* *'"),
        ("allowed_cidrs", "'192.0.2.1/24'"),
        ("resource", "'workspaces/acme/..'"),
        ("catalog_version", "-1"),
        ("display_name", "''"),
        ("labels", "'{'"),
        ("labels", "'{\"a\": 1}'"),
        ("labels", "'{\"A\": \"\"}'"),
        ("creator", "'?'"),
        ("kid", "''"),
        ("digest", fixture.bytes(&[1; 31]).as_str()),
        ("create_time", "9223372036854775807"),
        ("expire_time", "-9223372036854775808"),
        ("revoke_time", "1"),
        ("revoker", "'root'"),
    ] {
        fixture.sql(&format!("UPDATE tokens SET {column} = {value}")).await;
        match store.token(&token.name).await {
            Err(StoreError::Corrupt {
                table: "tokens",
                row,
                problem,
                ..
            }) => {
                assert_eq!(row, token.name.id.to_string());
                assert!(problem.contains(column), "{column} = {value}: {problem}");
            }
            other => panic!("{column} = {value}: {other:?}"),
        }
        fixture
            .sql(&format!("UPDATE tokens SET {column} = (SELECT {column} FROM original)"))
            .await;
        store.token(&token.name).await.expect("the restored row is read");
    }
}

/// An id that no row has.
const OTHER_ID: [u8; 12] = [9; 12];

/// The table of certificate names is not sealed, but the sealed row of the caller must have the name too.
async fn a_certificate_name_of_another_caller_is_rejected(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let mine = caller("mine", now);
    let powerful = Caller {
        certificate_sans: Vec::new(),
        ..caller("powerful", now)
    };
    for caller in [mine.clone(), powerful.clone()] {
        assert_eq!(insert_caller(&store, &caller).await, Insert::Done);
    }
    let claiming = mine.clone();
    let taken = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.claim_certificate_sans(&claiming).await)
        .await;
    assert_eq!(taken.expect("`claim_certificate_sans` succeeds"), None);
    let found = store
        .certificate_snapshot(&mine.certificate_sans)
        .await
        .expect("`certificate_snapshot` succeeds")
        .expect("the caller is found");
    assert_eq!(found.callers, std::slice::from_ref(&mine));

    assert_eq!(
        fixture
            .sql("UPDATE caller_certificate_sans SET caller = 'powerful'")
            .await,
        2
    );
    match store.certificate_snapshot(&mine.certificate_sans).await {
        Err(StoreError::Tampered {
            table: "caller_certificate_sans",
            row,
            ..
        }) => assert_eq!(row, "powerful"),
        other => panic!("{other:?}"),
    }
    fixture.sql("DELETE FROM caller_certificate_sans").await;
    assert_eq!(
        store
            .certificate_snapshot(&mine.certificate_sans)
            .await
            .expect("`certificate_snapshot` succeeds"),
        None
    );
}
