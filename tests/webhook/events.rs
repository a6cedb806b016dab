//! The receiver gets each recorded expiry event once, with the data of the audit record.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokend_client::v1::{CreateTokenRequest, Role};
use tokend_core::time::Timestamp;
use tokend_tests::{Installation, Records, after, eventually, on_both_databases, on_postgres, token_in};

use crate::{
    outbox::{empties, waiting},
    receiver::{Delivery, Receiver},
    setting::{SECRET, Webhook},
};

on_both_databases!(
    the_receiver_gets_the_expiry_events_of_a_token,
    the_receiver_gets_the_expiry_events_of_a_caller_key,
    without_a_webhook_no_message_is_queued
);

mod replicas {
    use super::*;

    on_postgres!(two_servers_send_each_message_once);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn body(delivery: &Delivery) -> Value {
    serde_json::from_str(&delivery.body).unwrap_or_else(|error| panic!("{error}: {delivery:?}"))
}

async fn the_receiver_gets_the_expiry_events_of_a_token(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    let acme = server.workspace("acme").await;
    let labels = [("team".to_owned(), "wéb \"1\"".to_owned())].into();
    let token = server
        .token(CreateTokenRequest {
            expiry: after(45 * DAY),
            labels,
            ..token_in(&acme)
        })
        .await;
    let (name, id) = (
        &token.public.name,
        token.public.name.rsplit_once('/').expect("the name has an ID").1,
    );

    installation.clock().set_ahead(15 * DAY);
    let warning = receiver.gets(1).await.remove(0);
    assert!(warning.is_signed_with(SECRET), "{warning:?}");
    assert_eq!(warning.id(), format!("msg_{id}_30d"));
    let message = body(&warning);
    let time = |time: Option<prost_types::Timestamp>| {
        let time = time.expect("the token has the time");
        Timestamp::from_unix_seconds(time.seconds, time.nanos.unsigned_abs())
            .expect("the time is in range")
            .to_string()
    };
    let expected = json!({
        "token": name,
        "workspace": acme,
        "resource": token.public.resource,
        "display_name": token.public.display_name,
        "hint": token.public.hint,
        "labels": {"team": "wéb \"1\""},
        "creator": token.public.creator,
        "create_time": time(token.public.create_time),
        "expire_time": time(token.public.expire_time),
        "days_before": 30,
        "days_left": 30,
    });
    assert_eq!(
        (&message["type"], &message["data"]),
        (&json!("token.expiring"), &expected)
    );
    let mut records = Records::of_installation(&installation).await;
    let recorded = records
        .of("acme")
        .await
        .into_iter()
        .find(|record| record.kind == "token.expiring")
        .expect("the event is recorded");
    let at: Timestamp = message["timestamp"]
        .as_str()
        .expect("the value is text")
        .parse()
        .expect("the timestamp is valid");
    assert!(
        at.unix_micros().abs_diff(recorded.time) < 1_000_000,
        "{message} {recorded:?}"
    );

    // Events that are due together are sent late, one message each.
    installation.clock().set_ahead(45 * DAY);
    let got = receiver.gets(4).await;
    let mut rest: Vec<_> = got[1..]
        .iter()
        .map(|delivery| (delivery.id(), body(delivery)))
        .collect();
    rest.sort_by_key(|(id, _)| *id);
    let events: Vec<_> = rest
        .iter()
        .map(|(id, message)| {
            (
                *id,
                &message["type"],
                &message["data"]["days_before"],
                &message["data"]["days_left"],
            )
        })
        .collect();
    let (expiring, expired) = (json!("token.expiring"), json!("token.expired"));
    assert_eq!(
        events,
        [
            (&*format!("msg_{id}_1d"), &expiring, &json!(1), &json!(0)),
            (&*format!("msg_{id}_7d"), &expiring, &json!(7), &json!(0)),
            (&*format!("msg_{id}_end"), &expired, &Value::Null, &Value::Null),
        ]
    );
    empties(&installation).await;
    let secret = token.secret.rsplit_once('_').expect("the secret has three parts").1;
    assert!(receiver.got().iter().all(|delivery| !delivery.body.contains(secret)));
    assert_eq!(receiver.got().len(), 4);
}

async fn the_receiver_gets_the_expiry_events_of_a_caller_key(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    let key = server.caller("gateway", Role::Verifier).await.public;
    let id = key.rsplit_once('/').expect("the name has an ID").1;
    // A caller key lasts for 90 days, the administrator's as well as this one.
    installation.clock().set_ahead(60 * DAY + Duration::from_secs(60));
    let warnings = receiver.gets(2).await;
    let warning = warnings
        .iter()
        .find(|warning| warning.id() == format!("msg_{id}_30d"))
        .expect("the key has a warning");
    assert!(warning.is_signed_with(SECRET), "{warning:?}");
    let message = body(warning);
    assert_eq!(message["type"], "caller_key.expiring");
    let data = &message["data"];
    assert_eq!(
        [&data["caller_key"], &data["caller"]],
        [&json!(key), &json!("callers/gateway")]
    );
    assert_eq!([&data["days_before"], &data["days_left"]], [&json!(30), &json!(30)]);
    assert!(
        data["hint"].as_str().is_some_and(|hint| hint.starts_with("tkdc_")),
        "{data}"
    );
    installation.clock().set_ahead(91 * DAY);
    let expired = async || {
        let received = receiver.got();
        received
            .into_iter()
            .find(|delivery| delivery.id() == format!("msg_{id}_end"))
    };
    let expired = body(&eventually("the receiver gets the expiry", expired).await);
    assert_eq!(expired["type"], "caller_key.expired");
    assert_eq!(expired["data"]["days_left"], Value::Null);
}

async fn without_a_webhook_no_message_is_queued(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server
        .token(CreateTokenRequest {
            expiry: after(DAY / 2),
            ..token_in(&acme)
        })
        .await;
    installation.clock().set_ahead(DAY);
    let mut records = Records::of_installation(&installation).await;
    let mut is_recorded = async || {
        records
            .of("acme")
            .await
            .iter()
            .any(|record| record.kind == "token.expired")
            .then_some(())
    };
    eventually("the expiry is recorded", async || is_recorded().await).await;
    assert_eq!(waiting(&installation).await, Vec::<String>::new());
}

async fn two_servers_send_each_message_once(installation: Installation) {
    const TOKENS: usize = 60;
    let receiver = Receiver::start().await;
    let webhook = Webhook::new(&installation, &receiver);
    let server = installation.start_with(webhook.arguments()).await;
    let _other = installation.serve_with(server.admin_key(), webhook.arguments()).await;
    let acme = server.workspace("acme").await;
    for _ in 0..TOKENS {
        server
            .token(CreateTokenRequest {
                expiry: after(DAY / 2),
                ..token_in(&acme)
            })
            .await;
    }
    installation.clock().set_ahead(DAY);
    receiver.gets(TOKENS).await;
    empties(&installation).await;
    let mut times = BTreeMap::new();
    for delivery in receiver.got() {
        *times.entry(delivery.id().to_owned()).or_insert(0) += 1;
    }
    assert!(
        times.len() == TOKENS && times.values().all(|times| *times == 1),
        "{times:?}"
    );
}
