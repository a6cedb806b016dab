//! Several servers on one database.

use std::{collections::BTreeMap, time::Duration};

use tokend_tests::{Installation, eventually, http, on_postgres};

use crate::{
    outbox::{empties, enqueue},
    receiver::{Receiver, Reply},
    setting::{Webhook, tries},
};

on_postgres!(
    each_message_is_sent_by_one_server,
    messages_of_a_dead_server_are_sent_by_another,
    a_database_outage_loses_no_message,
);

async fn each_message_is_sent_by_one_server(installation: Installation) {
    let receiver = Receiver::start().await;
    let webhook = Webhook::new(&installation, &receiver);
    let one = installation.start_with(webhook.arguments()).await;
    let other = installation.serve_with(one.admin_key(), webhook.arguments()).await;
    let ids: Vec<_> = (0..80).map(|number| format!("msg_{number}")).collect();
    enqueue(&installation, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    receiver.gets(80).await;
    empties(&installation).await;
    let mut times = BTreeMap::new();
    for delivery in receiver.got() {
        *times.entry(delivery.id().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(times, ids.into_iter().map(|id| (id, 1)).collect());
    for server in [&one, &other] {
        tries(server, "delivered", 1).await;
    }
}

async fn messages_of_a_dead_server_are_sent_by_another(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Silence);
    let webhook = Webhook::new(&installation, &receiver);
    let one = installation.start_with(webhook.arguments()).await;
    enqueue(&installation, &["msg_1"]).await;
    receiver.gets(1).await;
    let other = installation.serve_with(one.admin_key(), webhook.arguments()).await;
    one.kill();
    receiver.set(Reply::Status(200));
    installation.clock().set_ahead(Duration::from_secs(60));
    tries(&other, "delivered", 1).await;
    assert_eq!(receiver.gets(2).await[1].id(), "msg_1");
    empties(&installation).await;
}

async fn a_database_outage_loses_no_message(installation: Installation) {
    let receiver = Receiver::start().await;
    receiver.set(Reply::Status(503));
    let server = installation
        .start_with(Webhook::new(&installation, &receiver).arguments())
        .await;
    enqueue(&installation, &["msg_1"]).await;
    tries(&server, "refused", 1).await;
    let database = installation.postgres().expect("the database is PostgreSQL");
    database.cut_off();
    eventually("the server is not ready", async || {
        (http::get(server.ops_address(), "/readyz").0 == 503).then_some(())
    })
    .await;
    receiver.set(Reply::Status(200));
    database.restore();
    installation.clock().set_ahead(Duration::from_secs(60 * 60));
    tries(&server, "delivered", 1).await;
    empties(&installation).await;
}
