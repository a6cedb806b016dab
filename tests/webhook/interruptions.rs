//! Servers that end while they send, and webhooks that are taken out of the settings: nothing is lost.

use std::time::Duration;

use tokend_tests::{Installation, on_both_databases};

use crate::{
    outbox::{empties, enqueue, payload, waiting},
    receiver::{Receiver, Reply},
    setting::Webhook,
};

on_both_databases!(
    what_a_killed_server_was_sending_is_sent_by_the_next,
    a_server_that_is_told_to_end_does_not_wait_for_the_receiver,
    what_is_left_without_a_webhook_is_told_and_kept,
);

/// A claim has run out by then.
const LATER: Duration = Duration::from_secs(60);

async fn what_a_killed_server_was_sending_is_sent_by_the_next(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Silence);
    let webhook = Webhook::new(&installation, &receiver);
    let server = installation.start_with(webhook.arguments()).await;
    let key = server.admin_key().to_owned();
    enqueue(&installation, &["msg_1"]).await;
    receiver.gets(1).await;
    server.kill();
    assert_eq!(waiting(&installation).await, ["msg_1"]);

    receiver.set(Reply::Status(200));
    let _server = installation.serve_with(&key, webhook.arguments()).await;
    installation.clock().set_ahead(LATER);
    let got = receiver.gets(2).await;
    assert_eq!((got[1].id(), &got[1].body, &got[1].body), ("msg_1", &got[0].body, &payload("msg_1")));
    empties(&installation).await;
    assert_eq!(receiver.got().len(), 2);
}

async fn a_server_that_is_told_to_end_does_not_wait_for_the_receiver(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Silence);
    let webhook = Webhook::new(&installation, &receiver);
    let server = installation.start_with(webhook.arguments()).await;
    let key = server.admin_key().to_owned();
    enqueue(&installation, &["msg_1"]).await;
    receiver.gets(1).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), server.stop()).await.expect("it ends within 20 seconds");
    assert!(ended.status.success() && ended.stderr.contains("once more"), "{ended:#?}");

    receiver.set(Reply::Status(200));
    let _server = installation.serve_with(&key, webhook.arguments()).await;
    installation.clock().set_ahead(LATER);
    assert_eq!(receiver.gets(2).await[1].id(), "msg_1");
    empties(&installation).await;
}

async fn what_is_left_without_a_webhook_is_told_and_kept(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation.start().await;
    let key = server.admin_key().to_owned();
    enqueue(&installation, &["msg_1", "msg_2"]).await;
    let log = server.stop().await.stderr;
    assert!(!log.contains("webhook"), "nothing was left at its start: {log}");

    let log = installation.serve(&key).await.stop().await.stderr;
    let told = log.lines().find(|line| line.contains("wait for a webhook")).unwrap_or_else(|| panic!("not told: {log}"));
    assert!(told.contains("WARN") && told.contains("messages=2"), "{told}");
    assert_eq!(waiting(&installation).await, ["msg_1", "msg_2"]);

    let _server = installation.serve_with(&key, Webhook::new(&installation, &receiver).arguments()).await;
    receiver.gets(2).await;
    empties(&installation).await;
}
