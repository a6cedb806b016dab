//! No message is lost when a server stops while it sends, or when the webhook is removed from the settings.

use std::time::Duration;

use tokend_tests::{Installation, on_both_databases};

use crate::{
    outbox::{empties, enqueue, payload, waiting},
    receiver::{Receiver, Reply},
    setting::Webhook,
};

on_both_databases!(
    the_next_server_sends_the_message_of_a_killed_one,
    a_stopping_server_does_not_wait_for_the_receiver,
    without_a_webhook_queued_messages_are_logged_and_kept,
);

/// Longer than a claim lasts.
const LATER: Duration = Duration::from_secs(60);

async fn the_next_server_sends_the_message_of_a_killed_one(installation: Installation) {
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
    assert_eq!(
        (got[1].id(), &got[1].body, &got[1].body),
        ("msg_1", &got[0].body, &payload("msg_1"))
    );
    empties(&installation).await;
    assert_eq!(receiver.got().len(), 2);
}

async fn a_stopping_server_does_not_wait_for_the_receiver(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Silence);
    let webhook = Webhook::new(&installation, &receiver);
    let server = installation.start_with(webhook.arguments()).await;
    let key = server.admin_key().to_owned();
    enqueue(&installation, &["msg_1"]).await;
    receiver.gets(1).await;
    let stopped = tokio::time::timeout(Duration::from_secs(20), server.stop())
        .await
        .expect("the server stops within 20 seconds");
    assert!(
        stopped.status.success() && stopped.stderr.contains("get the same messages again"),
        "{stopped:#?}"
    );

    receiver.set(Reply::Status(200));
    let _server = installation.serve_with(&key, webhook.arguments()).await;
    installation.clock().set_ahead(LATER);
    assert_eq!(receiver.gets(2).await[1].id(), "msg_1");
    empties(&installation).await;
}

async fn without_a_webhook_queued_messages_are_logged_and_kept(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation.start().await;
    let key = server.admin_key().to_owned();
    enqueue(&installation, &["msg_1", "msg_2"]).await;
    let log = server.stop().await.stderr;
    assert!(
        !log.contains("webhook"),
        "no message was queued when the server started: {log}"
    );

    let log = installation.serve(&key).await.stop().await.stderr;
    let line = log
        .lines()
        .find(|line| line.contains("wait for a webhook"))
        .unwrap_or_else(|| panic!("no such line: {log}"));
    assert!(line.contains("WARN") && line.contains("messages=2"), "{line}");
    assert_eq!(waiting(&installation).await, ["msg_1", "msg_2"]);

    let _server = installation
        .serve_with(&key, Webhook::new(&installation, &receiver).arguments())
        .await;
    receiver.gets(2).await;
    empties(&installation).await;
}
