//! Receivers with the wrong certificate, receivers that redirect or are gone, and messages that were changed.

use std::time::Duration;

use tokend_tests::{Installation, Server, eventually, http, on_sqlite};

use crate::{
    outbox::{empties, enqueue, waiting},
    receiver::{Receiver, Reply},
    setting::{Webhook, tries},
};

on_sqlite!(
    a_certificate_of_another_authority_gets_nothing,
    a_certificate_of_another_name_gets_nothing,
    a_redirect_is_not_followed,
    when_the_receiver_is_gone_messages_are_kept,
    an_endless_response_counts_as_a_response,
    a_changed_message_is_not_sent,
);

/// Waits until the log has all of these words in one line.
async fn is_logged(server: &Server, words: &[&str]) {
    let has_line = async || {
        server
            .process()
            .stderr()
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
            .then_some(())
    };
    eventually(&format!("the log has {words:?}"), has_line).await;
}

async fn a_certificate_of_another_authority_gets_nothing(installation: Installation) {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let webhook = Webhook::new(&installation, &receiver);
    webhook.trust(other.certificate());
    let server = installation.start_with(webhook.arguments()).await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "unreachable", 1).await;
    is_logged(&server, &["WARN", "can't be reached", "certificate"]).await;
    assert_eq!((receiver.got().len(), waiting(&installation).await.len()), (0, 1));
}

async fn a_certificate_of_another_name_gets_nothing(installation: Installation) {
    let receiver = Receiver::named("receiver.example.com").await;
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "unreachable", 1).await;
    is_logged(
        &server,
        &["WARN", "can't be reached", "certificate", "not valid for name"],
    )
    .await;
    assert_eq!((receiver.got().len(), waiting(&installation).await.len()), (0, 1));
}

async fn a_redirect_is_not_followed(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Redirect);
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "refused", 1).await;
    is_logged(&server, &["ERROR", "307", "check its URL"]).await;
    assert!(
        receiver
            .got()
            .iter()
            .all(|delivery| delivery.target.starts_with("/hooks")),
        "{:?}",
        receiver.got()
    );
    assert_eq!(waiting(&installation).await, ["msg_1"]);
}

async fn when_the_receiver_is_gone_messages_are_kept(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Status(410));
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "refused", 1).await;
    is_logged(&server, &["ERROR", "410 Gone", "settings"]).await;
    assert_eq!(waiting(&installation).await, ["msg_1"]);
    receiver.set(Reply::Status(200));
    installation.clock().set_ahead(Duration::from_secs(60 * 60));
    empties(&installation).await;
}

async fn an_endless_response_counts_as_a_response(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Endless);
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    let ids: Vec<_> = (0..8).map(|number| format!("msg_{number}")).collect();
    enqueue(&installation, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    empties(&installation).await;
    tries(&server, "delivered", 8).await;
    assert_eq!(receiver.got().len(), 8);
}

async fn a_changed_message_is_not_sent(installation: Installation) {
    let key = installation.init().await;
    let receiver = Receiver::start().await;
    enqueue(&installation, &["msg_1", "msg_2"]).await;
    assert_eq!(
        installation
            .sql("UPDATE webhook_outbox SET payload = '{}' WHERE id = 'msg_1'")
            .await,
        1
    );
    let server = installation
        .serve_with(&key, Webhook::new(&installation, &receiver).arguments())
        .await;
    assert_eq!(receiver.gets(1).await[0].id(), "msg_2");
    is_logged(&server, &["ERROR", "webhook_outbox", "msg_1", "outside tokend"]).await;
    let counted = "tokend_tampered_rows_total{table=\"webhook_outbox\"} 1";
    eventually("the changed message is counted", async || {
        http::get(server.ops_address(), "/metrics")
            .1
            .contains(counted)
            .then_some(())
    })
    .await;
    eventually("only the changed message is queued", async || {
        (waiting(&installation).await == ["msg_1"]).then_some(())
    })
    .await;
    assert_eq!(receiver.got().len(), 1);
}
