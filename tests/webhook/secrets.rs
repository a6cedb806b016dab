//! The secrets that sign messages are reloaded without a restart, and appear nowhere else.

use std::{fs, path::Path};

use tokend_tests::{Installation, eventually, http, on_both_databases, on_sqlite};

use crate::{
    outbox::{empties, enqueue},
    receiver::{Receiver, Reply},
    setting::{OTHER_SECRET, SECRET, Webhook, tries},
};

on_both_databases!(secrets_appear_nowhere_else);

mod anywhere {
    use super::*;

    on_sqlite!(secrets_change_without_a_restart);

    async fn secrets_change_without_a_restart(installation: Installation) {
        let receiver = Receiver::start().await;
        let webhook = Webhook::new(&installation, &receiver);
        let server = installation.start_with(webhook.arguments()).await;
        let mut sent = 0;
        let mut signed_with = async |file: &str| {
            webhook.set_secrets(file);
            sent += 1;
            enqueue(&installation, &[&format!("msg_{sent}")]).await;
            let delivery = receiver.gets(sent).await.remove(sent - 1);
            (delivery.is_signed_with(SECRET), delivery.is_signed_with(OTHER_SECRET))
        };
        assert_eq!(signed_with(SECRET).await, (true, false));
        assert_eq!(signed_with(&format!("{SECRET}\n{OTHER_SECRET}\n")).await, (true, true));
        assert_eq!(signed_with(OTHER_SECRET).await, (false, true));
        assert_eq!(
            signed_with("whsec_hush").await,
            (false, true),
            "the last valid secrets stay in use"
        );
        let is_logged = async || {
            server
                .process()
                .stderr()
                .contains("line 1 is not a secret")
                .then_some(())
        };
        eventually("the log names the invalid line", is_logged).await;
        assert_eq!(signed_with(SECRET).await, (true, false));
        assert!(!server.process().stderr().contains("whsec_h"));
    }
}

async fn secrets_appear_nowhere_else(installation: Installation) {
    let receiver = Receiver::start().await;
    let webhook = Webhook::new(&installation, &receiver);
    let server = installation
        .start_with(
            webhook
                .arguments()
                .into_iter()
                .chain(["--log".to_owned(), "trace".to_owned()]),
        )
        .await;
    enqueue(&installation, &["msg_1"]).await;
    receiver.gets(1).await;
    empties(&installation).await;
    for (number, reply) in (2..).zip([Reply::Status(500), Reply::Status(404), Reply::Redirect, Reply::HangUp]) {
        receiver.set(reply);
        enqueue(&installation, &[&format!("msg_{number}")]).await;
        let outcome = if matches!(reply, Reply::HangUp) {
            "unreachable"
        } else {
            "refused"
        };
        tries(&server, outcome, if outcome == "unreachable" { 1 } else { number - 1 }).await;
    }
    assert_no_secret("the metrics", http::get(server.ops_address(), "/metrics").1.as_bytes());
    if let Some(database) = installation.postgres() {
        assert_no_secret("the database", database.dump().await.as_bytes());
    }
    let log = server.stop().await.stderr;
    assert!(
        log.contains("messages go to a webhook"),
        "the log names the webhook: {log}"
    );
    assert_no_secret("the log", log.as_bytes());
    search(installation.directory(), webhook.secret_file());
}

/// Asserts that the text has no signing secret and no secret part of the receiver's URL.
fn assert_no_secret(place: &str, content: &[u8]) {
    let bytes = b"hush-hush-hush-hush-hush-one".as_slice();
    for form in [&SECRET.as_bytes()[6..], bytes, b"hush-path", b"hush-query"] {
        let is_there = content.windows(form.len()).any(|window| window == form);
        assert!(!is_there, "{} is in {place}", String::from_utf8_lossy(form));
    }
}

fn search(directory: &Path, secret_file: &Path) {
    for path in fs::read_dir(directory)
        .expect("the directory is readable")
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() {
            search(&path, secret_file);
        } else if path != secret_file {
            assert_no_secret(
                &path.display().to_string(),
                &fs::read(&path).expect("the file is readable"),
            );
        }
    }
}
