//! The webhook's outbox: what is put into it with a change leaves it when the receiver has it, and not before.

use std::{collections::BTreeMap, time::Duration};

use tokend_core::webhook::Message;
use tokend_store::{Backlog, Claim, Insert, Store, StoreError};

use crate::support::{Fixture, on_both};

on_both!(
    a_message_comes_with_the_change_that_it_tells_of,
    a_message_is_there_once,
    a_claim_is_one_claimers_until_it_runs_out,
    a_claim_that_was_given_back_is_due_after_its_delay,
    who_was_slow_puts_nothing_off,
    those_due_for_longest_are_claimed_first,
    many_that_claim_at_once_get_each_message_once,
    what_tokend_did_not_write_stays_and_hides_no_other,
    a_key_that_is_not_at_hand_claims_nothing,
    the_backlog_tells_how_much_and_how_old,
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
    store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.enqueue(&message).await })).await.expect("it works")
}

async fn claim(store: &Store, limit: u64) -> Vec<Claim> {
    let claimed = store.claim_messages(limit, MINUTE).await.expect("it works");
    claimed.into_iter().map(|claim| claim.expect("it can be read")).collect()
}

fn ids(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.message.id.as_str()).collect()
}

async fn a_message_comes_with_the_change_that_it_tells_of(fixture: Fixture) {
    let store = fixture.initialized().await;
    let unwanted = store.write::<(), StoreError, _>(|tx| {
        Box::pin(async move {
            assert_eq!(tx.enqueue(&message("unwanted")).await?, Insert::Done);
            Err(StoreError::Overloaded)
        })
    });
    assert!(matches!(unwanted.await, Err(StoreError::Overloaded)));
    assert!(!store.is_message_due().await.expect("it works"));
    assert_eq!(claim(&store, 9).await, []);

    let before = store.now().await.expect("time");
    assert_eq!(enqueue(&store, &message("wanted")).await, Insert::Done);
    assert!(store.is_message_due().await.expect("it works"));
    let claims = claim(&store, 9).await;
    assert_eq!(claims.len(), 1);
    // Every byte of it: this is what is signed.
    assert_eq!((&claims[0].message, claims[0].attempt), (&message("wanted"), 1));
    assert!(before <= claims[0].create_time && claims[0].create_time <= claims[0].claim_time);
}

async fn a_message_is_there_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    let first = message("same");
    let other = Message { payload: "{}".to_owned(), ..first.clone() };
    assert_eq!([enqueue(&store, &first).await, enqueue(&store, &other).await], [Insert::Done, Insert::Taken]);
    let claims = claim(&store, 9).await;
    assert_eq!(claims.into_iter().map(|claim| claim.message).collect::<Vec<_>>(), [first]);
}

async fn a_claim_is_one_claimers_until_it_runs_out(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    let first = claim(&store, 9).await.remove(0);
    fixture.set_clock_ahead(MINUTE / 2);
    assert!(!store.is_message_due().await.expect("it works"));
    assert_eq!(claim(&store, 9).await, []);

    // Its claimer died, and so did its store.
    store.close().await;
    fixture.set_clock_ahead(MINUTE);
    let store = fixture.open().await;
    assert!(store.is_message_due().await.expect("it works"));
    let again = claim(&store, 9).await.remove(0);
    assert_eq!((&again.message, again.attempt, again.create_time), (&first.message, 2, first.create_time));
    assert!(again.claim_time > first.claim_time);

    store.remove_message(&again.message.id).await.expect("it works");
    store.remove_message(&again.message.id).await.expect("it is gone, as it should be");
    fixture.set_clock_ahead(MINUTE * 60);
    assert_eq!(claim(&store, 9).await, []);
    assert_eq!(fixture.number("SELECT count(*) FROM webhook_outbox").await, 0);
}

async fn a_claim_that_was_given_back_is_due_after_its_delay(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    let first = claim(&store, 9).await.remove(0);
    store.postpone_message(&first, MINUTE * 10).await.expect("it works");
    fixture.set_clock_ahead(MINUTE * 9);
    assert_eq!(claim(&store, 9).await, []);
    fixture.set_clock_ahead(MINUTE * 10);
    let second = claim(&store, 9).await.remove(0);
    assert_eq!((&second.message, second.attempt), (&first.message, 2));
    store.postpone_message(&second, Duration::ZERO).await.expect("it works");
    assert_eq!(claim(&store, 9).await.remove(0).attempt, 3);
}

async fn who_was_slow_puts_nothing_off(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    let slow = claim(&store, 9).await.remove(0);
    fixture.set_clock_ahead(MINUTE);
    let current = claim(&store, 9).await.remove(0);
    store.postpone_message(&current, MINUTE).await.expect("it works");
    store.postpone_message(&slow, MINUTE * 60).await.expect("it does nothing");
    fixture.set_clock_ahead(MINUTE * 2);
    assert_eq!(claim(&store, 9).await.remove(0).attempt, 3);
}

async fn those_due_for_longest_are_claimed_first(fixture: Fixture) {
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

async fn many_that_claim_at_once_get_each_message_once(fixture: Fixture) {
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
                while store.is_message_due().await.expect("it works") {
                    claimed.extend(claim(&store, 3).await);
                }
                claimed
            })
        })
        .collect();
    let mut times = BTreeMap::new();
    for claimer in claimers {
        for claim in claimer.await.expect("it ends") {
            assert_eq!(claim.attempt, 1);
            *times.entry(claim.message.id.to_string()).or_insert(0) += 1;
        }
    }
    assert_eq!(times, names.into_iter().map(|name| (name, 1)).collect());
}

async fn what_tokend_did_not_write_stays_and_hides_no_other(fixture: Fixture) {
    let store = fixture.initialized().await;
    let ids = ["id", "event", "subject", "payload", "mac", "good"];
    for id in ids {
        assert_eq!(enqueue(&store, &message(id)).await, Insert::Done);
    }
    for change in ["id = 'i d'", "event = 'token.ended'", "subject = ''", "payload = '{}'"] {
        let (column, _) = change.split_once(' ').expect("a column");
        assert_eq!(fixture.sql(&format!("UPDATE webhook_outbox SET {change} WHERE id = '{column}'")).await, 1);
    }
    let mac = fixture.bytes(&[1; 34]);
    assert_eq!(fixture.sql(&format!("UPDATE webhook_outbox SET mac = {mac} WHERE id = 'mac'")).await, 1);
    let claimed = store.claim_messages(9, MINUTE).await.expect("it works");
    let (good, bad): (Vec<_>, Vec<_>) = claimed.into_iter().partition(Result::is_ok);
    assert!(matches!(&good[..], [Ok(claim)] if claim.message == message("good")), "{good:?}");
    for bad in &bad {
        match bad {
            // No header can carry it.
            Err(StoreError::Corrupt { row, .. }) => assert_eq!(row, "i d"),
            Err(StoreError::Tampered { row, .. }) => assert!(ids[1..5].contains(&row.as_str()), "{row}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((bad.len(), fixture.number("SELECT count(*) FROM webhook_outbox").await), (5, 6));
    let refused = store.refused_rows().find(|(table, _)| *table == "webhook_outbox");
    assert_eq!(refused, Some(("webhook_outbox", 5)));
}

async fn a_key_that_is_not_at_hand_claims_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(enqueue(&store, &message("one")).await, Insert::Done);
    // The MAC of a key that the database knows and this process lacks.
    let key = "SELECT '9', fingerprint, create_time, 'VERIFIES' FROM keyring_keys";
    fixture.sql(&format!("INSERT INTO keyring_keys (kid, fingerprint, create_time, state) {key}")).await;
    let mac = [[1, b'9'].as_slice(), &[7; 32]].concat();
    assert_eq!(fixture.sql(&format!("UPDATE webhook_outbox SET mac = {}", fixture.bytes(&mac))).await, 1);
    let claimed = store.claim_messages(9, MINUTE).await;
    assert!(matches!(claimed, Err(StoreError::WrongKeys { .. })), "{claimed:?}");
    assert_eq!(fixture.number("SELECT attempts FROM webhook_outbox").await, 0);
}

async fn the_backlog_tells_how_much_and_how_old(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(store.outbox_backlog().await.expect("it works"), Backlog::default());
    assert_eq!(enqueue(&store, &message("old")).await, Insert::Done);
    fixture.set_clock_ahead(MINUTE * 60);
    assert_eq!(enqueue(&store, &message("new")).await, Insert::Done);
    // What is being sent is not there yet.
    assert_eq!(claim(&store, 1).await.len(), 1);
    let Backlog { messages, oldest_age } = store.outbox_backlog().await.expect("it works");
    assert!(messages == 2 && (MINUTE * 60..MINUTE * 61).contains(&oldest_age), "{messages} {oldest_age:?}");
}
