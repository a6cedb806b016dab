//! With invalid webhook settings, `serve` prints one clear sentence and exits with code 1.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use tokend_tests::{Installation, on_sqlite};

use crate::{
    receiver::Receiver,
    setting::{SECRET, Webhook},
};

on_sqlite!(
    invalid_webhook_settings_are_refused,
    secrets_that_others_can_read_are_refused,
    settings_are_read_from_a_file
);

/// Runs `serve` and returns its error message.
async fn refused(installation: &Installation, arguments: &[String]) -> String {
    let sentence = installation.refused_to_serve(arguments).await;
    assert!(!sentence.contains("hush"), "{sentence}");
    sentence
}

async fn invalid_webhook_settings_are_refused(installation: Installation) {
    installation.init().await;
    let receiver = Receiver::start().await;
    let webhook = Webhook::new(&installation, &receiver);
    let good = webhook.arguments();
    let with = |index: usize, value: &str| {
        let mut arguments = good.clone();
        value.clone_into(&mut arguments[index]);
        arguments
    };
    for (url, words) in [
        ("http://receiver.example.com/hush", "https://"),
        ("https://user:hush@receiver.example.com/", "password"),
        ("https://receiver.example.com/#hush", "fragment"),
        ("https:///hush", "not a URL"),
        ("", "not a URL"),
    ] {
        let sentence = refused(&installation, &with(1, url)).await;
        assert!(sentence.contains(words), "{url}: {sentence}");
    }
    let sentence = refused(&installation, &with(3, "/nonexistent")).await;
    assert!(
        sentence.contains("/nonexistent") && sentence.contains("--webhook-secret-file"),
        "{sentence}"
    );
    let sentence = refused(&installation, &with(5, "/nonexistent")).await;
    assert!(
        sentence.contains("/nonexistent") && sentence.contains("CA file"),
        "{sentence}"
    );
    webhook.trust("no certificate");
    let sentence = refused(&installation, &good).await;
    assert!(sentence.contains("no certificate"), "{sentence}");
    webhook.trust(receiver.certificate());
    for (text, words) in [
        ("", "no secret".to_owned()),
        ("whsec_hush", "line 1".to_owned()),
        (&format!("{SECRET}\nhush"), "line 2".to_owned()),
        (&format!("{SECRET}\n").repeat(3), "3 secrets".to_owned()),
    ] {
        webhook.set_secrets(text);
        let sentence = refused(&installation, &good).await;
        assert!(sentence.contains(&words), "{text}: {sentence}");
    }
    for half in [&good[..2], &good[2..4], &good[4..]] {
        let sentence = refused(&installation, half).await;
        assert!(
            sentence.contains("--webhook-url") && sentence.contains("--webhook-secret-file"),
            "{half:?}: {sentence}"
        );
    }
}

async fn secrets_that_others_can_read_are_refused(installation: Installation) {
    let key = installation.init().await;
    let receiver = Receiver::start().await;
    let webhook = Webhook::new(&installation, &receiver);
    for (mode, is_fine) in [(0o644, false), (0o660, false), (0o600, true), (0o440, true)] {
        fs::set_permissions(webhook.secret_file(), Permissions::from_mode(mode)).expect("the mode is set");
        if is_fine {
            installation.serve_with(&key, webhook.arguments()).await.stop().await;
        } else {
            let sentence = refused(&installation, &webhook.arguments()).await;
            assert!(sentence.contains("chmod 600"), "{mode:o}: {sentence}");
        }
    }
}

async fn settings_are_read_from_a_file(installation: Installation) {
    let key = installation.init().await;
    let receiver = Receiver::start().await;
    let [_, url, _, secret_file, _, ca_file] = Webhook::new(&installation, &receiver).arguments();
    let file = installation.directory().join("tokend.toml");
    let text = format!("[webhook]\nurl = {url:?}\nsecret_file = {secret_file:?}\nca_file = {ca_file:?}\n");
    fs::write(&file, text).expect("the file is written");
    let _server = installation
        .serve_with(&key, ["--config", file.to_str().expect("the path is UTF-8")])
        .await;
    crate::outbox::enqueue(&installation, &["msg_1"]).await;
    assert!(receiver.gets(1).await[0].is_signed_with(SECRET));
    crate::outbox::empties(&installation).await;
}
