//! From a token's end to the receiver: what goes on record is what the receiver is told, once.

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
    the_receiver_is_told_of_a_tokens_end,
    the_receiver_is_told_of_a_caller_keys_expiry,
    without_a_webhook_nothing_waits_for_one
);

mod replicas {
    use super::*;

    on_postgres!(of_two_servers_one_tells_and_one_sends);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn body(delivery: &Delivery) -> Value {
    serde_json::from_str(&delivery.body).unwrap_or_else(|error| panic!("{error}: {delivery:?}"))
}

async fn the_receiver_is_told_of_a_tokens_end(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation.start_with(Webhook::new(&installation, &receiver).arguments()).await;
    let acme = server.workspace("acme").await;
    let labels = [("team".to_owned(), "wéb \"1\"".to_owned())].into();
    let token = server.token(CreateTokenRequest { expiry: after(45 * DAY), labels, ..token_in(&acme) }).await;
    let (name, id) = (&token.public.name, token.public.name.rsplit_once('/').expect("an id").1);

    installation.clock().set_ahead(15 * DAY);
    let warning = receiver.gets(1).await.remove(0);
    assert!(warning.is_signed_with(SECRET), "{warning:?}");
    assert_eq!(warning.id(), format!("msg_{id}_30d"));
    let told = body(&warning);
    let time = |time: Option<prost_types::Timestamp>| {
        let time = time.expect("it has one");
        Timestamp::from_unix_seconds(time.seconds, time.nanos.unsigned_abs()).expect("in range").to_string()
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
    assert_eq!((&told["type"], &told["data"]), (&json!("token.expiring"), &expected));
    let mut records = Records::of_installation(&installation).await;
    let recorded = records.of("acme").await.into_iter().find(|record| record.kind == "token.expiring").expect("it is on record");
    let at: Timestamp = told["timestamp"].as_str().expect("text").parse().expect("a time");
    assert!(at.unix_micros().abs_diff(recorded.time) < 1_000_000, "{told} {recorded:?}");

    // What is late is told late, each by itself.
    installation.clock().set_ahead(45 * DAY);
    let got = receiver.gets(4).await;
    let mut rest: Vec<_> = got[1..].iter().map(|delivery| (delivery.id(), body(delivery))).collect();
    rest.sort_by_key(|(id, _)| *id);
    let told: Vec<_> =
        rest.iter().map(|(id, told)| (*id, &told["type"], &told["data"]["days_before"], &told["data"]["days_left"])).collect();
    let (expiring, expired) = (json!("token.expiring"), json!("token.expired"));
    assert_eq!(
        told,
        [
            (&*format!("msg_{id}_1d"), &expiring, &json!(1), &json!(0)),
            (&*format!("msg_{id}_7d"), &expiring, &json!(7), &json!(0)),
            (&*format!("msg_{id}_end"), &expired, &Value::Null, &Value::Null),
        ]
    );
    empties(&installation).await;
    let secret = token.secret.rsplit_once('_').expect("three parts").1;
    assert!(receiver.got().iter().all(|delivery| !delivery.body.contains(secret)));
    assert_eq!(receiver.got().len(), 4);
}

async fn the_receiver_is_told_of_a_caller_keys_expiry(installation: Installation) {
    let receiver = Receiver::start().await;
    let server = installation.start_with(Webhook::new(&installation, &receiver).arguments()).await;
    let key = server.caller("gateway", Role::Verifier).await.public;
    let id = key.rsplit_once('/').expect("an id").1;
    // A caller key lasts for 90 days, the administrator's as well as this one.
    installation.clock().set_ahead(60 * DAY + Duration::from_secs(60));
    let warnings = receiver.gets(2).await;
    let warning = warnings.iter().find(|warning| warning.id() == format!("msg_{id}_30d")).expect("of this key");
    assert!(warning.is_signed_with(SECRET), "{warning:?}");
    let told = body(warning);
    assert_eq!(told["type"], "caller_key.expiring");
    let data = &told["data"];
    assert_eq!([&data["caller_key"], &data["caller"]], [&json!(key), &json!("callers/gateway")]);
    assert_eq!([&data["days_before"], &data["days_left"]], [&json!(30), &json!(30)]);
    assert!(data["hint"].as_str().is_some_and(|hint| hint.starts_with("tkdc_")), "{data}");
    installation.clock().set_ahead(91 * DAY);
    let expired = async || {
        let received = receiver.got();
        received.into_iter().find(|delivery| delivery.id() == format!("msg_{id}_end"))
    };
    let expired = body(&eventually("it has expired", expired).await);
    assert_eq!(expired["type"], "caller_key.expired");
    assert_eq!(expired["data"]["days_left"], Value::Null);
}

async fn without_a_webhook_nothing_waits_for_one(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(CreateTokenRequest { expiry: after(DAY / 2), ..token_in(&acme) }).await;
    installation.clock().set_ahead(DAY);
    let mut records = Records::of_installation(&installation).await;
    let mut is_told = async || records.of("acme").await.iter().any(|record| record.kind == "token.expired").then_some(());
    eventually("it is on record", async || is_told().await).await;
    assert_eq!(waiting(&installation).await, Vec::<String>::new());
}

async fn of_two_servers_one_tells_and_one_sends(installation: Installation) {
    const TOKENS: usize = 60;
    let receiver = Receiver::start().await;
    let webhook = Webhook::new(&installation, &receiver);
    let server = installation.start_with(webhook.arguments()).await;
    let _other = installation.serve_with(server.admin_key(), webhook.arguments()).await;
    let acme = server.workspace("acme").await;
    for _ in 0..TOKENS {
        server.token(CreateTokenRequest { expiry: after(DAY / 2), ..token_in(&acme) }).await;
    }
    installation.clock().set_ahead(DAY);
    receiver.gets(TOKENS).await;
    empties(&installation).await;
    let mut times = BTreeMap::new();
    for delivery in receiver.got() {
        *times.entry(delivery.id().to_owned()).or_insert(0) += 1;
    }
    assert!(times.len() == TOKENS && times.values().all(|times| *times == 1), "{times:?}");
}
