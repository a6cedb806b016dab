//! Adds messages to the outbox from a process that is not a server, and reads the outbox.

use std::{fs, sync::Arc};

use tokend_core::{keyring::RootKeys, time::Clock, webhook::Message};
use tokend_store::{Insert, Store, StoreError, StoreSettings, WriteTx};
use tokend_tests::{Installation, eventually};

/// Returns the body of a message.
pub(crate) fn payload(id: &str) -> String {
    format!(
        "{{\"type\":\"token.expired\",\"timestamp\":\"2026-01-01T00:00:00Z\",\
         \"data\":{{\"token\":\"{id} 🦀\",\"n\":1.0}}}}"
    )
}

/// Adds messages to the outbox, due at once.
pub(crate) async fn enqueue(installation: &Installation, ids: &[&str]) {
    let message = |id: &&str| Message {
        id: id.parse().expect("the name has an ID"),
        event: "token.expired".to_owned(),
        subject: format!("workspaces/acme/tokens/{id}"),
        payload: payload(id),
    };
    let messages: Vec<_> = ids.iter().map(message).collect();
    let store = open(installation).await;
    let enqueue = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
        for message in &messages {
            assert_eq!(tx.enqueue(message).await?, Insert::Done);
        }
        Ok(())
    });
    enqueue.await.expect("`enqueue` succeeds");
    store.close().await;
}

async fn open(installation: &Installation) -> Store {
    let url = match installation.postgres() {
        Some(database) => database.url().to_owned(),
        None => format!("sqlite://{}", installation.data_dir().join("tokend.db").display()),
    };
    let keyring = fs::read_to_string(installation.data_dir().join("keyring")).expect("the file is readable");
    let roots = RootKeys::from_toml(&keyring).expect("the key ring is valid");
    Store::open(&StoreSettings::new(url), Arc::new(roots), Clock::system())
        .await
        .expect("the store opens")
}

/// Returns the IDs of the messages in the outbox.
pub(crate) async fn waiting(installation: &Installation) -> Vec<String> {
    installation.texts("SELECT id FROM webhook_outbox ORDER BY id").await
}

/// Waits until the outbox is empty.
pub(crate) async fn empties(installation: &Installation) {
    eventually("the outbox is empty", async || {
        waiting(installation).await.is_empty().then_some(())
    })
    .await;
}
