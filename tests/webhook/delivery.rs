//! Deliveries to the receiver: signatures, retries and pauses.

use std::{collections::BTreeSet, time::Duration};

use tokend_tests::{Installation, eventually, http, on_both_databases};

use crate::{
    outbox::{empties, enqueue, payload, waiting},
    receiver::{Delivery, Receiver, Reply},
    setting::{SECRET, Webhook, advance_clock_until, tries},
};

on_both_databases!(
    a_message_is_delivered_once_and_signed,
    a_refused_message_is_retried_unchanged,
    a_receiver_gets_every_message_after_hours_of_downtime,
    the_retry_after_of_the_receiver_is_respected,
);

const HOUR: Duration = Duration::from_secs(60 * 60);

fn ids(got: &[Delivery]) -> BTreeSet<&str> {
    got.iter().map(Delivery::id).collect()
}

async fn a_message_is_delivered_once_and_signed(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    let delivery = receiver.gets(1).await.remove(0);
    assert_eq!(
        (delivery.method.as_str(), delivery.target.as_str()),
        ("POST", "/hooks/hush-path?key=hush-query")
    );
    assert_eq!(delivery.header("content-type"), "application/json");
    assert!(delivery.header("user-agent").starts_with("tokend/"));
    assert_eq!(
        (delivery.id(), delivery.body.as_str()),
        ("msg_1", payload("msg_1").as_str())
    );
    assert!(delivery.is_signed_with(SECRET), "{delivery:?}");
    let changed = Delivery {
        body: delivery.body.replace("1.0", "1"),
        ..delivery.clone()
    };
    assert!(!changed.is_signed_with(SECRET), "the signature covers every byte");

    empties(&installation).await;
    tries(&server, "delivered", 1).await;
    // Later messages arrive, and this one is not repeated.
    installation.clock().set_ahead(HOUR);
    enqueue(&installation, &["msg_2", "msg_3"]).await;
    let got = receiver.gets(3).await;
    assert_eq!(ids(&got[1..]), ["msg_2", "msg_3"].into());
    assert!(
        got[1].timestamp() - delivery.timestamp() >= 3_600,
        "the time is the attempt's"
    );
    empties(&installation).await;
    assert_eq!(receiver.got().len(), 3);
}

async fn a_refused_message_is_retried_unchanged(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Status(500));
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "refused", 1).await;
    let again = || Some(receiver.got()).filter(|got| got.len() >= 3);
    let got = advance_clock_until(&installation, "the message is tried three times", again).await;
    for delivery in &got {
        assert_eq!((delivery.id(), &delivery.body), ("msg_1", &payload("msg_1")));
        assert!(
            delivery.is_signed_with(SECRET),
            "each attempt is signed with its time: {delivery:?}"
        );
    }
    assert!(got[2].timestamp() > got[0].timestamp());
    tries(&server, "refused", got.len() as u64).await;
    assert_eq!(waiting(&installation).await, ["msg_1"]);

    receiver.set(Reply::Status(299));
    installation.clock().set_ahead(HOUR);
    empties(&installation).await;
    tries(&server, "delivered", 1).await;
    let log = server.stop().await.stderr;
    assert!(log.contains("500") && log.contains("accepts messages again"), "{log}");
}

async fn a_receiver_gets_every_message_after_hours_of_downtime(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::HangUp);
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1", "msg_2", "msg_3"]).await;
    tries(&server, "unreachable", 3).await;
    for (day, count) in [(1, 6), (2, 9)] {
        installation.clock().set_ahead(HOUR * 24 * day);
        tries(&server, "unreachable", count).await;
    }
    assert_eq!(waiting(&installation).await, ["msg_1", "msg_2", "msg_3"]);
    let has_count = async || {
        http::get(server.ops_address(), "/metrics")
            .1
            .contains("tokend_webhook_outbox_messages 3\n")
            .then_some(())
    };
    eventually("the metrics count the queued messages", has_count).await;
    assert_eq!(receiver.got().len(), 0);

    receiver.set(Reply::Status(200));
    installation.clock().set_ahead(HOUR * 24 * 3);
    assert_eq!(ids(&receiver.gets(3).await), ["msg_1", "msg_2", "msg_3"].into());
    empties(&installation).await;
}

async fn the_retry_after_of_the_receiver_is_respected(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::NotNow(7_200));
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "refused", 1).await;
    receiver.set(Reply::Status(200));
    // Without `Retry-After` the pause would be at most 5 seconds.
    installation.clock().set_ahead(HOUR);
    enqueue(&installation, &["msg_2"]).await;
    assert_eq!(ids(&receiver.gets(2).await[1..]), ["msg_2"].into());
    installation.clock().set_ahead(HOUR * 2 + HOUR / 2);
    assert_eq!(ids(&receiver.gets(3).await[2..]), ["msg_1"].into());
    empties(&installation).await;
}
