//! With unusable TLS files, `serve` prints one clear sentence and exits with code 1.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use rcgen::date_time_ymd;
use tokend_tests::{Installation, on_sqlite};

use crate::{authority::Authority, files::Files};

on_sqlite!(
    unusable_files_are_named,
    a_key_that_others_can_read_is_refused,
    incomplete_tls_settings_are_refused,
    an_expired_certificate_is_a_warning,
    settings_are_read_from_a_file,
);

async fn unusable_files_are_named(installation: Installation) {
    installation.init().await;
    let authority = Authority::new();
    let good = authority.server();
    let files = Files::with_client_ca(&installation, &good, &authority);
    let empty_shell = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let cut = &good.certificate[..good.certificate.len() / 2];
    for (file, text, words) in [
        ("tls.crt", "", "no certificate"),
        ("tls.crt", "garbage", "no certificate"),
        ("tls.crt", &good.key, "no certificate"),
        ("tls.crt", cut, "PEM"),
        ("tls.crt", empty_shell, "X.509"),
        ("tls.crt", &authority.server().certificate, "does not belong"),
        ("tls.key", "", "no private key"),
        ("tls.key", &good.certificate, "no private key"),
        ("tls.key", &encrypted, "encrypted"),
        ("tls.key", no_key, "can't be used"),
        ("tls.key", &authority.server().key, "does not belong"),
        ("ca.crt", "garbage", "no client CA"),
        ("ca.crt", &good.key, "no client CA"),
        ("ca.crt", empty_shell, "can't be used"),
    ] {
        files.put(file, text);
        let sentence = installation.refused_to_serve(files.arguments()).await;
        assert!(
            sentence.contains(words) && sentence.contains(&files.path(file)),
            "{file} {text}: {sentence}"
        );
        assert!(
            !sentence.contains("AAAA") && !good.key.lines().any(|line| sentence.contains(line) && line.len() > 40),
            "{sentence}"
        );
        files.put("tls.crt", &good.certificate);
        files.put("tls.key", &good.key);
        files.put("ca.crt", authority.pem());
    }
    for (flag, file) in [
        ("--tls-cert", "tls.crt"),
        ("--tls-key", "tls.key"),
        ("--client-ca", "ca.crt"),
    ] {
        let mut arguments = files.arguments();
        let value = arguments
            .iter()
            .position(|argument| argument == flag)
            .expect("the option is among the arguments")
            + 1;
        arguments[value] = files.path("absent");
        let sentence = installation.refused_to_serve(&arguments).await;
        assert!(
            sentence.contains(&files.path("absent")) && sentence.contains(flag),
            "{file}: {sentence}"
        );
        arguments[value] = files.directory().to_str().expect("the path is UTF-8").to_owned();
        let sentence = installation.refused_to_serve(&arguments).await;
        assert!(sentence.contains(&arguments[value]), "{file}: {sentence}");
    }
}

async fn a_key_that_others_can_read_is_refused(installation: Installation) {
    let key = installation.init().await;
    let authority = Authority::new();
    let files = Files::new(&installation, &authority.server());
    for (mode, is_fine) in [
        (0o644, false),
        (0o604, false),
        (0o660, false),
        (0o600, true),
        (0o400, true),
        (0o440, true),
    ] {
        fs::set_permissions(files.path("tls.key"), Permissions::from_mode(mode)).expect("the mode is set");
        if is_fine {
            installation
                .serve_over(&authority.trusted(), &key, files.arguments())
                .await
                .stop()
                .await;
        } else {
            let sentence = installation.refused_to_serve(files.arguments()).await;
            assert!(
                sentence.contains("chmod 600") && sentence.contains(&files.path("tls.key")),
                "{mode:o}: {sentence}"
            );
        }
    }
}

async fn incomplete_tls_settings_are_refused(installation: Installation) {
    installation.init().await;
    for flag in ["--tls-cert", "--tls-key", "--client-ca"] {
        let sentence = installation.refused_to_serve([flag, "/nonexistent"]).await;
        assert!(
            sentence.contains("--tls-cert") && sentence.contains("--tls-key") || sentence.contains(flag),
            "{sentence}"
        );
    }
}

async fn an_expired_certificate_is_a_warning(installation: Installation) {
    installation.init().await;
    let expired = Authority::new().issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let files = Files::new(&installation, &expired);
    let (process, _address) = files.serve_bare(&installation, &["--listen", "127.0.0.1:0"]).await;
    let log = process.stderr();
    assert!(
        log.contains("WARN") && log.contains("expired") && log.contains(&files.path("tls.crt")),
        "{log}"
    );
}

async fn settings_are_read_from_a_file(installation: Installation) {
    let key = installation.init().await;
    let authority = Authority::new();
    let files = Files::with_client_ca(&installation, &authority.server(), &authority);
    let settings = files.directory().join("tokend.toml");
    let (certificate, private, ca) = (files.path("tls.crt"), files.path("tls.key"), files.path("ca.crt"));
    let text = format!("tls_cert = {certificate:?}\ntls_key = {private:?}\nclient_ca = {ca:?}\n");
    fs::write(&settings, text).expect("the file is written");
    let arguments = ["--config", settings.to_str().expect("the path is UTF-8")];
    installation
        .serve_over(&authority.trusted(), &key, arguments)
        .await
        .workspace("acme")
        .await;
}
