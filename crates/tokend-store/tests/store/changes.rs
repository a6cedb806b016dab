//! The change log of a transaction stores everything that derives from a change exactly once, in the transaction of the
//! change.

use tokend_core::{
    audit::{Chain, Origin, Record},
    change::{Change, Initiator},
    text::Reason,
    token::expiry_notice::ExpiryNotice,
    token::{Expiry, Revocation, Token},
};
use tokend_store::{Insert, Store, StoreError, StoreSettings, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, insert_token, insert_workspace, workspace, workspace_id};

on_both_databases!(
    a_revocation_has_an_audit_record_and_a_feed_row,
    each_change_of_a_transaction_has_its_own_initiator,
    a_dry_run_stores_nothing,
    a_change_that_needs_a_revision_is_rejected_without_one,
    a_notice_has_a_webhook_message_if_there_is_a_webhook,
    an_update_changes_only_recorded_columns,
);

/// Counts everything that a change stores besides its row.
const TRACES: &str = "SELECT (SELECT count(*) FROM audit_events) * 1000000 + (SELECT count(*) FROM endings) * 10000 \
                      + (SELECT count(*) FROM webhook_outbox) * 1000 + (SELECT revision FROM feed)";

async fn token(fixture: &Fixture, store: &Store) -> Token {
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(store, &token).await, Insert::Done);
    token
}

async fn last_record(store: &Store) -> Record {
    let chain = Chain::Workspace(workspace_id("acme"));
    let page = store.list_audit(&chain, None, 1).await.expect("a page");
    page.records
        .into_iter()
        .next()
        .expect("a record")
        .expect("the record is intact")
}

async fn revoke(tx: &WriteTx, token: &Token) -> Result<(), StoreError> {
    let read = tx.token(&token.name).await?.expect("the token exists");
    let revocation = Revocation {
        at: tx.now().await?,
        by: "root".parse().expect("an id"),
        reason: Reason::new("leaked".to_owned()).expect("short"),
    };
    assert!(tx.revoke_token(&read, revocation).await?.is_some());
    Ok(())
}

async fn a_revocation_has_an_audit_record_and_a_feed_row(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = token(&fixture, &store).await;
    let name = token.name.to_string();
    let origin = Origin {
        caller: Some("root".parse().expect("an id")),
        actor: Some("ada".parse().expect("an actor")),
        address: Some("192.0.2.1".parse().expect("an address")),
    };
    let ((), revision) = store
        .acting_as(Initiator::Caller(origin))
        .write_advancing(async move |tx: &WriteTx| revoke(tx, &token).await)
        .await
        .expect("the write is committed");
    assert_eq!(revision.revision.number, 1);
    let record = last_record(&store).await;
    assert_eq!((record.kind.as_str(), record.resource), ("token.revoked", name));
    assert_eq!((record.reason.as_str(), record.detail.as_str()), ("leaked", ""));
    assert_eq!(
        (record.caller.as_str(), record.actor.as_str(), record.address.as_str()),
        ("callers/root", "ada", "192.0.2.1")
    );
    assert_eq!(fixture.number("SELECT count(*) FROM endings").await, 1);
}

async fn each_change_of_a_transaction_has_its_own_initiator(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = token(&fixture, &store).await;
    let now = token.create_time;
    let mut tokens = vec![token];
    for _ in 0..2 {
        let more = fixture.token(&workspace_id("acme"), now);
        assert_eq!(insert_token(&store, &more).await, Insert::Done);
        tokens.push(more);
    }
    let names: Vec<_> = tokens.iter().map(|token| token.name.to_string()).collect();
    let by = |caller: &str| {
        Initiator::Caller(Origin {
            caller: Some(caller.parse().expect("an id")),
            actor: None,
            address: None,
        })
    };
    let attributed = [None, Some(by("ada")), Some(by("grace"))];
    let ((), committed) = store
        .acting_as(by("root"))
        .write_advancing(async move |tx: &WriteTx| {
            for (token, initiator) in tokens.iter().zip(attributed) {
                if let Some(initiator) = initiator {
                    tx.attribute_to(initiator);
                }
                revoke(tx, token).await?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .expect("the write is committed");
    assert_eq!(committed.revision.number, 1, "they share a revision");
    let chain = Chain::Workspace(workspace_id("acme"));
    let page = store.list_audit(&chain, None, 3).await.expect("a page");
    let mut recorded: Vec<_> = page
        .records
        .into_iter()
        .map(|record| record.expect("the record is intact"))
        .map(|record| (record.caller, record.resource))
        .collect();
    recorded.reverse();
    let callers = ["callers/root", "callers/ada", "callers/grace"].map(str::to_owned);
    assert_eq!(recorded, callers.into_iter().zip(names).collect::<Vec<_>>());
}

async fn a_dry_run_stores_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = token(&fixture, &store).await;
    let before = fixture.number(TRACES).await;
    let tried = store
        .preview(async move |tx: &WriteTx| {
            revoke(tx, &token).await?;
            Ok::<_, StoreError>(
                tx.token(&token.name)
                    .await?
                    .is_some_and(|read| read.revocation.is_some()),
            )
        })
        .await;
    assert!(
        tried.expect("the write is committed"),
        "the dry run revokes the token in its transaction"
    );
    assert_eq!(fixture.number(TRACES).await, before);
    assert_eq!(
        fixture
            .number("SELECT count(*) FROM tokens WHERE revoke_time IS NOT NULL")
            .await,
        0
    );
}

async fn a_change_that_needs_a_revision_is_rejected_without_one(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = token(&fixture, &store).await;
    let before = fixture.number(TRACES).await;
    let refused = store
        .write(async move |tx: &WriteTx| revoke(tx, &token).await)
        .await
        .expect_err("the transaction has no revision");
    assert!(refused.to_string().contains("without a wait"), "{refused}");
    assert_eq!(fixture.number(TRACES).await, before);
}

async fn a_notice_has_a_webhook_message_if_there_is_a_webhook(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = token(&fixture, &store).await;
    store.close().await;
    for (has_webhook, messages) in [(false, 0), (true, 1), (true, 1)] {
        let settings = StoreSettings {
            has_webhook,
            ..fixture.settings.clone()
        };
        let store = Store::open(&settings, fixture.roots.clone(), fixture.clock())
            .await
            .expect("the store opens");
        let notice = token.clone();
        let written = store.write(async move |tx: &WriteTx| {
            let at = tx.now().await?;
            tx.record(Change::TokenExpiryNotice {
                token: notice,
                notice: ExpiryNotice::End,
                expiry: Expiry::At(at),
                at,
            });
            Ok::<_, StoreError>(())
        });
        written.await.expect("the write is committed");
        assert_eq!(last_record(&store).await.kind, "token.expired");
        assert_eq!(fixture.number("SELECT count(*) FROM webhook_outbox").await, messages);
        store.close().await;
    }
}

async fn an_update_changes_only_recorded_columns(fixture: Fixture) {
    let store = fixture.initialized().await;
    token(&fixture, &store).await;
    let ((workspace, organization), _) = store
        .write_advancing(async move |tx: &WriteTx| {
            let read = tx
                .lock_workspace(&workspace_id("acme"))
                .await?
                .expect("the workspace exists");
            let mut other = (**read).clone();
            other.organization = None;
            let workspace = tx.update_workspace(&read, other).await?;
            let initech = "initech".parse().expect("an id");
            let read = tx.lock_organization(&initech).await?.expect("the organization exists");
            let mut other = (*read).clone();
            other.create_time = tx.now().await?;
            let organization = tx.update_organization(&read, other).await?;
            Ok::<_, StoreError>((workspace, organization))
        })
        .await
        .expect("the write is committed");
    assert_eq!((workspace, organization), (None, None));
}
