//! `tokend serve`: a failed start exits with code 1 and one clear sentence.

use std::{fs, net::TcpListener};

use tokend_tests::{
    Finished, Installation, Process, SERVE_ON_FREE_PORTS, http, on_both_databases, on_sqlite, question, token_in,
};

on_both_databases!(
    a_restarted_server_has_the_earlier_data,
    without_init_serve_is_refused,
    a_port_in_use_is_named,
    without_its_key_ring_the_server_does_not_start,
    a_foreign_key_ring_is_refused,
    a_damaged_key_ring_is_refused,
    plaintext_off_loopback_needs_permission,
);

mod in_files {
    use super::*;

    on_sqlite!(
        right_after_init_serve_uses_tokend_data,
        a_directory_that_is_a_file_is_named,
        a_directory_that_cannot_be_written_to_is_named,
        a_file_that_is_not_a_database_is_not_changed,
        a_database_of_another_program_is_not_changed,
    );

    async fn right_after_init_serve_uses_tokend_data(installation: Installation) {
        let key = Process::spawn(installation.command(["init"]), "")
            .finish()
            .await
            .succeeded();
        let mut serve = installation.command(["serve"]);
        serve.args(SERVE_ON_FREE_PORTS).args(["--ready-file", "ready"]);
        let process = Process::spawn(serve, "");
        let ready = installation.directory().join("ready");
        let address = tokend_tests::eventually("the ready file is written", async || {
            let ready: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ready).ok()?).ok()?;
            Some(
                ready["ops_address"]
                    .as_str()
                    .expect("the ready file has the address")
                    .to_owned(),
            )
        });
        assert_eq!(http::get(&address.await, "/readyz").0, 200);
        assert!(!process.stdout().contains(key.trim()) && !process.stderr().contains(key.trim()));
    }

    async fn a_directory_that_is_a_file_is_named(installation: Installation) {
        fs::write(installation.data_dir(), "a file").expect("the file is written");
        for command in [&["init"][..], &["serve"]] {
            let sentence = installation.run_on_data(command).await.failed_with_a_sentence();
            assert!(sentence.contains("data"), "{sentence}");
        }
    }

    /// Not even root can create files in `/proc`.
    async fn a_directory_that_cannot_be_written_to_is_named(installation: Installation) {
        for command in ["init", "serve"] {
            let run = installation.command([command, "--data-dir", "/proc/tokend-data"]);
            let sentence = Process::spawn(run, "").finish().await.failed_with_a_sentence();
            assert!(sentence.contains("/proc/tokend-data"), "{sentence}");
        }
    }

    async fn a_file_that_is_not_a_database_is_not_changed(installation: Installation) {
        installation.init().await;
        let file = installation.data_dir().join("tokend.db");
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(installation.data_dir().join(format!("tokend.db{suffix}")));
        }
        let text = "Dear diary, ".repeat(1_000);
        fs::write(&file, &text).expect("the file is written");
        for command in ["serve", "init"] {
            let sentence = refused(&installation, command).await;
            assert!(sentence.contains("tokend.db"), "{sentence}");
            assert_eq!(fs::read_to_string(&file).expect("the file is readable"), text);
        }
    }

    async fn a_database_of_another_program_is_not_changed(installation: Installation) {
        use sqlx::{Connection, Executor};
        installation.init().await;
        let file = installation.data_dir().join("other.db");
        let url = format!("sqlite://{}", file.display());
        let mut other = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc"))
            .await
            .expect("the database is created");
        other
            .execute("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')")
            .await
            .expect("the statement succeeds");
        other.close().await.expect("the connection closes");
        let before = fs::read(&file).expect("the file is readable");
        for command in [&["serve"][..], &["init"], &["migrate", "up"]] {
            let mut run = installation.command(command);
            run.arg("--data-dir")
                .arg(installation.data_dir())
                .args(["--database-url", &url]);
            if command == ["serve"] {
                run.args(SERVE_ON_FREE_PORTS);
            }
            let sentence = Process::spawn(run, "").finish().await.failed_with_a_sentence();
            assert!(sentence.contains("other.db"), "{command:?}: {sentence}");
            assert_eq!(fs::read(&file).expect("the file is readable"), before, "{command:?}");
        }
    }
}

/// Runs `serve` on free ports, or another command, and returns its error message.
async fn refused(installation: &Installation, command: &str) -> String {
    run(installation, command, &[]).await.failed_with_a_sentence()
}

async fn run(installation: &Installation, command: &str, arguments: &[&str]) -> Finished {
    let mut run = installation.command_on_data([command]);
    if command == "serve" {
        run.args(["--log", "error"]).args(SERVE_ON_FREE_PORTS);
    }
    run.args(arguments);
    Process::spawn(run, "").finish().await
}

async fn a_restarted_server_has_the_earlier_data(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());
    let successor = installation.serve(&key).await;
    assert_eq!(successor.get_token(&token.public.name).await, token.public);
    let verdict = successor.verdict(question(&token.secret, &acme, &[])).await;
    assert_eq!(verdict.decision(), tokend_client::v1::Decision::Allow);
}

async fn without_init_serve_is_refused(installation: Installation) {
    let sentence = refused(&installation, "serve").await;
    assert!(sentence.contains("tokend init"), "{sentence}");
    assert!(
        !installation.data_dir().join("tokend.db").exists(),
        "no database is created"
    );
    // With a key ring, but without an initialized database.
    let elsewhere = installation.directory().join("elsewhere");
    let mut init = installation.command(["init", "--data-dir"]);
    init.arg(&elsewhere);
    Process::spawn(init, "").finish().await.succeeded();
    fs::create_dir_all(installation.data_dir()).expect("the directory is created");
    fs::copy(elsewhere.join("keyring"), installation.data_dir().join("keyring")).expect("the file is copied");
    let sentence = refused(&installation, "serve").await;
    assert!(sentence.contains("tokend init"), "{sentence}");
}

async fn a_port_in_use_is_named(installation: Installation) {
    let key = installation.init().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("the listener binds");
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()))
        .expect("the listener has an address");
    for listen in ["--listen", "--ops-listen"] {
        let mut serve = installation.command_on_data(["serve", "--log", "error"]);
        let other = if listen == "--listen" {
            "--ops-listen"
        } else {
            "--listen"
        };
        serve.args([other, "127.0.0.1:0", listen, &taken.1]);
        let sentence = Process::spawn(serve, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains(&taken.1), "{sentence}");
    }
    installation.serve(&key).await.workspace("acme").await;
}

async fn without_its_key_ring_the_server_does_not_start(installation: Installation) {
    installation.init().await;
    fs::remove_file(installation.data_dir().join("keyring")).expect("the file is removed");
    let sentence = refused(&installation, "serve").await;
    assert!(sentence.contains("keyring"), "{sentence}");
}

async fn a_foreign_key_ring_is_refused(installation: Installation) {
    let key = installation.init().await;
    let elsewhere = installation.directory().join("elsewhere");
    let mut init = installation.command(["init", "--data-dir"]);
    init.arg(&elsewhere);
    Process::spawn(init, "").finish().await.succeeded();
    let foreign = elsewhere.join("keyring");
    let sentence = run(&installation, "serve", &["--keyring", &foreign.to_string_lossy()])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("key ring"), "{sentence}");
    installation.serve(&key).await.workspace("acme").await;
}

async fn a_damaged_key_ring_is_refused(installation: Installation) {
    installation.init().await;
    let keyring = installation.data_dir().join("keyring");
    let text = fs::read_to_string(&keyring).expect("the file is readable");
    for damaged in [String::new(), "garbage".to_owned(), text[..text.len() / 2].to_owned()] {
        fs::write(&keyring, &damaged).expect("the file is written");
        let sentence = refused(&installation, "serve").await;
        assert!(sentence.contains("keyring"), "{sentence}");
        let long = text.split(['"', '\n', ' ', '=']).filter(|word| word.len() > 20);
        assert!(
            long.into_iter().all(|word| !sentence.contains(word)),
            "the message quotes a key: {sentence}"
        );
    }
}

async fn plaintext_off_loopback_needs_permission(installation: Installation) {
    installation.init().await;
    let mut serve = installation.command_on_data(["serve", "--log", "error"]);
    serve.args(["--listen", "0.0.0.0:0", "--ops-listen", "127.0.0.1:0"]);
    let sentence = Process::spawn(serve, "").finish().await.failed_with_a_sentence();
    assert!(sentence.contains("--insecure-plaintext"), "{sentence}");
}
