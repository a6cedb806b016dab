//! A message enters the webhook's outbox with its change and stays until the receiver has accepted it.

use std::{collections::BTreeMap, time::Duration};

use tokend_core::webhook::Message;
use tokend_store::{Backlog, Claim, Insert, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::Fixture;

on_both_databases!(
    a_message_is_stored_with_its_change,
    a_message_is_stored_once,
    a_claim_is_exclusive_until_it_expires,
    a_returned_claim_is_due_after_its_delay,
    an_expired_claim_cannot_be_returned,
    the_longest_due_messages_are_claimed_first,
    concurrent_claimers_get_each_message_once,
    a_tampered_message_stays_and_hides_no_others,
    a_claim_fails_without_the_key_of_a_message,
    the_backlog_has_a_size_and_an_age,
);

const MINUTE: Duration = Duration::from_secs(60);

fn message(id: &str) -> Message {
    let payload = format!("{{\"type\":\"token.expired\",\"data\":{{\"what\":\"{id}, 'quoted' \\u0000 🦀\"}}}}");
    Message {
        id: id.parse().expect("an id"),
        event: "token.expired".to_owned(),
        subject: format!("workspaces/acme/tokens/{id}"),
        payload,
    }
}

async fn enqueue(store: &Store, message: &Message) -> Insert {
    let message = message.clone();
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.enqueue(&message).await)
        .await
        .expect("`enqueue` succeeds")
}

async fn claim(store: &Store, limit: u64) -> Vec<Claim> {
    let claimed = store
        .claim_messages(limit, MINUTE)
        .await
        .expect("`claim_messages` succeeds");
    claimed
        .into_iter()
        .map(|claim| claim.expect("the message is intact"))
        .collect()
}

fn ids(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.message.id.as_str()).collect()
}

async fn a_message_is_stored_with_its_change(fixture: Fixture) {
    let store = fixture.initialized().await;
    let unwanted = store.write::<(), StoreError, _>(async move |tx: &WriteTx| {
        assert_eq!(tx.enqueue(&message("unwanted")).await?, Insert::Done);
        Err(StoreError::Overloaded)
    });
    assert!(matches!(unwanted.await, Err(StoreError::Overloaded)));
    assert!(!store.is_message_due().await.expect("`is_message_due` succeeds"));
    assert_eq!(claim(&store, 9).await, []);

    let before = store.now().await.expect("time");
    assert_eq!(enqueue(&store, &message("wanted")).await, Insert::Done);
    assert!(store.is_message_due().await.expect("`is_message_due` succeeds"));
    let claims = claim(&store, 9).await;
    assert_eq!(claims.len(), 1);
    // Every byte counts, because the message is signed.
    assert_eq!((&claims[0].message, claims[0].attempt), (&message("wanted"), 1));
    assert!(before <= claims[0].create_time && claims[0].create_time <= claims[0].claim_time);
}

async fn a_message_is_stored_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    let first = message("same");
    let other = Message {
        payload: "{}".to_owned(),
        ..first.clone()
    };
    assert_eq!(
        [enqueue(&store, &first).await, enqueue(&store, &other).await],
        [Insert::Done, Insert::Taken]
    );
    let claims = claim(&store, 9).await;
    assert_eq!(
        claims.into_iter().map(|claim| claim.message).collect::<Vec<_>>(),
        [first]
    );
}

async fn a_claim_is_exclusive_until_it_expires(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    let first = claim(&store, 9).await.remove(0);
    fixture.set_clock_ahead(MINUTE / 2);
    assert!(!store.is_message_due().await.expect("`is_message_due` succeeds"));
    assert_eq!(claim(&store, 9).await, []);

    // The claimer and its store are gone.
    store.close().await;
    fixture.set_clock_ahead(MINUTE);
    let store = fixture.open().await;
    assert!(store.is_message_due().await.expect("`is_message_due` succeeds"));
    let again = claim(&store, 9).await.remove(0);
    assert_eq!(
        (&again.message, again.attempt, again.create_time),
        (&first.message, 2, first.create_time)
    );
    assert!(again.claim_time > first.claim_time);

    store
        .remove_message(&again.message.id)
        .await
        .expect("`remove_message` succeeds");
    store
        .remove_message(&again.message.id)
        .await
        .expect("removing a message twice succeeds");
    fixture.set_clock_ahead(MINUTE * 60);
    assert_eq!(claim(&store, 9).await, []);
    assert_eq!(fixture.number("SELECT count(*) FROM webhook_outbox").await, 0);
}

async fn a_returned_claim_is_due_after_its_delay(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    let first = claim(&store, 9).await.remove(0);
    store
        .postpone_message(&first, MINUTE * 10)
        .await
        .expect("`postpone_message` succeeds");
    fixture.set_clock_ahead(MINUTE * 9);
    assert_eq!(claim(&store, 9).await, []);
    fixture.set_clock_ahead(MINUTE * 10);
    let second = claim(&store, 9).await.remove(0);
    assert_eq!((&second.message, second.attempt), (&first.message, 2));
    store
        .postpone_message(&second, Duration::ZERO)
        .await
        .expect("`postpone_message` succeeds");
    assert_eq!(claim(&store, 9).await.remove(0).attempt, 3);
}

async fn an_expired_claim_cannot_be_returned(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    let slow = claim(&store, 9).await.remove(0);
    fixture.set_clock_ahead(MINUTE);
    let current = claim(&store, 9).await.remove(0);
    store
        .postpone_message(&current, MINUTE)
        .await
        .expect("`postpone_message` succeeds");
    store
        .postpone_message(&slow, MINUTE * 60)
        .await
        .expect("an expired claim changes nothing");
    fixture.set_clock_ahead(MINUTE * 2);
    assert_eq!(claim(&store, 9).await.remove(0).attempt, 3);
}

async fn the_longest_due_messages_are_claimed_first(fixture: Fixture) {
    let store = fixture.initialized().await;
    for (minute, id) in (0..).zip(["d", "a", "c", "b"]) {
        fixture.set_clock_ahead(MINUTE * minute);
        assert_eq!(enqueue(&store, &message(id)).await, Insert::Done);
    }
    assert_eq!(ids(&claim(&store, 2).await), ["d", "a"]);
    assert_eq!(ids(&claim(&store, 1).await), ["c"]);
    assert_eq!(ids(&claim(&store, 9).await), ["b"]);
    assert_eq!(ids(&claim(&store, 9).await), Vec::<&str>::new());
}

async fn concurrent_claimers_get_each_message_once(fixture: Fixture) {
    const MESSAGES: usize = 60;
    let stores = [fixture.initialized().await, fixture.open().await];
    let names: Vec<_> = (0..MESSAGES).map(|number| format!("m{number}")).collect();
    for name in &names {
        assert_eq!(enqueue(&stores[0], &message(name)).await, Insert::Done);
    }
    let claimers: Vec<_> = (0..8)
        .map(|claimer: usize| {
            let store = stores[claimer % 2].clone();
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                while store.is_message_due().await.expect("`is_message_due` succeeds") {
                    claimed.extend(claim(&store, 3).await);
                }
                claimed
            })
        })
        .collect();
    let mut times = BTreeMap::new();
    for claimer in claimers {
        for claim in claimer.await.expect("the claimer finishes") {
            assert_eq!(claim.attempt, 1);
            *times.entry(claim.message.id.to_string()).or_insert(0) += 1;
        }
    }
    assert_eq!(times, names.into_iter().map(|name| (name, 1)).collect());
}

async fn a_tampered_message_stays_and_hides_no_others(fixture: Fixture) {
    let store = fixture.initialized().await;
    let ids = ["id", "event", "subject", "payload", "mac", "good"];
    for id in ids {
        assert_eq!(enqueue(&store, &message(id)).await, Insert::Done);
    }
    for change in ["id = 'i d'", "event = 'token.ended'", "subject = ''", "payload = '{}'"] {
        let (column, _) = change.split_once(' ').expect("a column");
        assert_eq!(
            fixture
                .sql(&format!("UPDATE webhook_outbox SET {change} WHERE id = '{column}'"))
                .await,
            1
        );
    }
    let mac = fixture.bytes(&[1; 34]);
    assert_eq!(
        fixture
            .sql(&format!("UPDATE webhook_outbox SET mac = {mac} WHERE id = 'mac'"))
            .await,
        1
    );
    let claimed = store
        .claim_messages(9, MINUTE)
        .await
        .expect("`claim_messages` succeeds");
    let (good, bad): (Vec<_>, Vec<_>) = claimed.into_iter().partition(Result::is_ok);
    assert!(
        matches!(&good[..], [Ok(claim)] if claim.message == message("good")),
        "{good:?}"
    );
    for bad in &bad {
        match bad {
            // Headers can't contain this id.
            Err(StoreError::Corrupt { row, .. }) => assert_eq!(row, "i d"),
            Err(StoreError::Tampered { row, .. }) => assert!(ids[1..5].contains(&row.as_str()), "{row}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (bad.len(), fixture.number("SELECT count(*) FROM webhook_outbox").await),
        (5, 6)
    );
    let refused = store.refused_rows().find(|(table, _)| *table == "webhook_outbox");
    assert_eq!(refused, Some(("webhook_outbox", 5)));
}

async fn a_claim_fails_without_the_key_of_a_message(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    // The MAC names a key that the database has and this process lacks.
    let key = "SELECT '9', fingerprint, create_time, 'VERIFIES' FROM keyring_keys";
    fixture
        .sql(&format!(
            "INSERT INTO keyring_keys (kid, fingerprint, create_time, state) {key}"
        ))
        .await;
    let mac = [[1, b'9'].as_slice(), &[7; 32]].concat();
    assert_eq!(
        fixture
            .sql(&format!("UPDATE webhook_outbox SET mac = {}", fixture.bytes(&mac)))
            .await,
        1
    );
    let claimed = store.claim_messages(9, MINUTE).await;
    assert!(matches!(claimed, Err(StoreError::WrongKeys { .. })), "{claimed:?}");
    assert_eq!(fixture.number("SELECT attempts FROM webhook_outbox").await, 0);
}

async fn the_backlog_has_a_size_and_an_age(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(
        store.outbox_backlog().await.expect("`outbox_backlog` succeeds"),
        Backlog::default()
    );
    assert_eq!(enqueue(&store, &message("old")).await, Insert::Done);
    fixture.set_clock_ahead(MINUTE * 60);
    assert_eq!(enqueue(&store, &message("new")).await, Insert::Done);
    // A claimed message is still in the backlog.
    assert_eq!(claim(&store, 1).await.len(), 1);
    let Backlog { messages, oldest_age } = store.outbox_backlog().await.expect("`outbox_backlog` succeeds");
    assert!(
        messages == 2 && (MINUTE * 60..MINUTE * 61).contains(&oldest_age),
        "{messages} {oldest_age:?}"
    );
}
