//! `tokend init`: schema, key ring, first caller; once.

use std::{fs, os::unix::fs::PermissionsExt};

use tokend_client::v1::ListCallersRequest;
use tokend_tests::{Installation, Process, on_both_databases, on_sqlite};

mod anywhere {
    use super::*;

    on_sqlite!(
        the_key_ring_is_its_owners_alone,
        it_uses_tokend_data_unless_told_otherwise,
        whoever_loses_takes_nothing_from_the_winner,
    );

    async fn the_key_ring_is_its_owners_alone(installation: Installation) {
        installation.init().await;
        let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(installation.data_dir().join("keyring")), 0o600);
        assert_eq!(mode(installation.data_dir()) & 0o077, 0, "nor does anyone else look into the directory");
    }

    async fn it_uses_tokend_data_unless_told_otherwise(installation: Installation) {
        Process::spawn(installation.command(["init"]), "").finish().await.succeeded();
        for file in ["tokend.db", "keyring"] {
            assert!(installation.directory().join("tokend-data").join(file).is_file(), "{file}");
        }
    }

    /// A race that goes wrong seldom has to be run often.
    async fn whoever_loses_takes_nothing_from_the_winner(installation: Installation) {
        for round in 0..10 {
            let directory = format!("round-{round}");
            let start = || Process::spawn(installation.command(["init", "--data-dir", &directory]), "").finish();
            let (one, other) = tokio::join!(start(), start());
            assert!(one.status.success() != other.status.success(), "one wins: {one:#?} {other:#?}");
            assert!(installation.directory().join(&directory).join("keyring").is_file(), "round {round}: the key ring is gone");
        }
    }
}

on_both_databases!(
    its_key_stands_alone_on_stdout,
    it_refuses_to_run_twice,
    of_two_at_once_one_wins,
    what_it_could_not_finish_can_be_done_again,
);

async fn its_key_stands_alone_on_stdout(installation: Installation) {
    let finished = installation.run_on_data(["init"]).await;
    let key = finished.stdout.strip_suffix('\n').expect("a line");
    assert!(key.starts_with("tkdc_") && key.len() == 74 && !key.contains(char::is_whitespace), "{finished:#?}");
    assert!(finished.status.success(), "{finished:#?}");
    assert!(!finished.stderr.contains(key) && !finished.stderr.is_empty(), "what is said around it: {finished:#?}");

    let server = installation.serve(key).await;
    let callers = server.admin().caller_admin().list_callers(ListCallersRequest::default()).await.expect("it is an admin's");
    assert_eq!(callers.into_inner().callers.len(), 1);
}

async fn it_refuses_to_run_twice(installation: Installation) {
    let key = installation.init().await;
    let keyring = fs::read(installation.data_dir().join("keyring")).expect("it is there");
    let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
    assert!(sentence.contains("already"), "{sentence}");
    assert_eq!(fs::read(installation.data_dir().join("keyring")).expect("it is there"), keyring, "nothing was touched");
    let server = installation.serve(&key).await;
    server.workspace("acme").await;
}

async fn of_two_at_once_one_wins(installation: Installation) {
    let start = || Process::spawn(installation.command_on_data(["init"]), "").finish();
    let (one, other) = tokio::join!(start(), start());
    let (winner, loser) = if one.status.success() { (one, other) } else { (other, one) };
    let key = winner.succeeded();
    let sentence = loser.failed_with_a_sentence();
    assert!(sentence.contains("already"), "the other one says so: {sentence}");
    let server = installation.serve(key.trim()).await;
    server.workspace("acme").await;
}

async fn what_it_could_not_finish_can_be_done_again(installation: Installation) {
    // A directory stands where the key ring belongs.
    let keyring = installation.data_dir().join("keyring");
    fs::create_dir_all(&keyring).expect("a directory can be made");
    let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
    assert!(sentence.contains("keyring"), "{sentence}");
    fs::remove_dir(&keyring).expect("it is empty");
    let key = installation.init().await;
    installation.serve(&key).await.workspace("acme").await;
}
