//! `tokend init` creates the schema, the key ring and the first caller, once.

use std::{fs, os::unix::fs::PermissionsExt};

use tokend_client::v1::ListCallersRequest;
use tokend_tests::{Installation, Process, on_both_databases, on_sqlite};

mod anywhere {
    use super::*;

    on_sqlite!(
        only_the_owner_can_read_the_key_ring,
        tokend_data_is_the_default_directory,
        a_failed_concurrent_init_leaves_the_other_intact,
    );

    async fn only_the_owner_can_read_the_key_ring(installation: Installation) {
        installation.init().await;
        let mode = |path| fs::metadata(path).expect("the file exists").permissions().mode() & 0o777;
        assert_eq!(mode(installation.data_dir().join("keyring")), 0o600);
        assert_eq!(
            mode(installation.data_dir()) & 0o077,
            0,
            "others cannot read the directory"
        );
    }

    async fn tokend_data_is_the_default_directory(installation: Installation) {
        Process::spawn(installation.command(["init"]), "")
            .finish()
            .await
            .succeeded();
        for file in ["tokend.db", "keyring"] {
            assert!(
                installation.directory().join("tokend-data").join(file).is_file(),
                "{file}"
            );
        }
    }

    /// The race rarely fails, so the test runs it many times.
    async fn a_failed_concurrent_init_leaves_the_other_intact(installation: Installation) {
        for round in 0..10 {
            let directory = format!("round-{round}");
            let start = || Process::spawn(installation.command(["init", "--data-dir", &directory]), "").finish();
            let (one, other) = tokio::join!(start(), start());
            assert!(
                one.status.success() != other.status.success(),
                "one init succeeds: {one:#?} {other:#?}"
            );
            assert!(
                installation.directory().join(&directory).join("keyring").is_file(),
                "round {round}: the key ring is gone"
            );
        }
    }
}

on_both_databases!(
    stdout_has_only_the_key,
    a_second_init_is_refused,
    one_of_two_concurrent_inits_succeeds,
    an_interrupted_init_can_be_repeated,
);

async fn stdout_has_only_the_key(installation: Installation) {
    let finished = installation.run_on_data(["init"]).await;
    let key = finished.stdout.strip_suffix('\n').expect("stdout is one line");
    assert!(
        key.starts_with("tkdc_") && key.len() == 74 && !key.contains(char::is_whitespace),
        "{finished:#?}"
    );
    assert!(finished.status.success(), "{finished:#?}");
    assert!(
        !finished.stderr.contains(key) && !finished.stderr.is_empty(),
        "the rest of the output: {finished:#?}"
    );

    let server = installation.serve(key).await;
    let callers = server
        .admin()
        .caller_admin()
        .list_callers(ListCallersRequest::default())
        .await
        .expect("the key is an ADMIN's");
    assert_eq!(callers.into_inner().callers.len(), 1);
}

async fn a_second_init_is_refused(installation: Installation) {
    let key = installation.init().await;
    let keyring = fs::read(installation.data_dir().join("keyring")).expect("the file is readable");
    let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
    assert!(sentence.contains("already"), "{sentence}");
    assert_eq!(
        fs::read(installation.data_dir().join("keyring")).expect("the file is readable"),
        keyring,
        "the key ring is unchanged"
    );
    let server = installation.serve(&key).await;
    server.workspace("acme").await;
}

async fn one_of_two_concurrent_inits_succeeds(installation: Installation) {
    let start = || Process::spawn(installation.command_on_data(["init"]), "").finish();
    let (one, other) = tokio::join!(start(), start());
    let (winner, loser) = if one.status.success() {
        (one, other)
    } else {
        (other, one)
    };
    let key = winner.succeeded();
    let sentence = loser.failed_with_a_sentence();
    assert!(sentence.contains("already"), "the other init fails: {sentence}");
    let server = installation.serve(key.trim()).await;
    server.workspace("acme").await;
}

async fn an_interrupted_init_can_be_repeated(installation: Installation) {
    // A directory has the path of the key ring.
    let keyring = installation.data_dir().join("keyring");
    fs::create_dir_all(&keyring).expect("the directory is created");
    let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
    assert!(sentence.contains("keyring"), "{sentence}");
    fs::remove_dir(&keyring).expect("the directory is removed");
    let key = installation.init().await;
    installation.serve(&key).await.workspace("acme").await;
}
