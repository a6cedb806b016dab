//! The key ring's file: a file of an older version is upgraded, and a file is always replaced whole.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tokend_tests::{Installation, on_both_databases};

use crate::keyring::{file, keyring, signs_with, state, states};

on_both_databases!(
    an_interrupted_change_is_completed_by_a_repeat,
    a_file_of_version_1_is_upgraded,
    the_file_keeps_its_mode_and_is_replaced_whole,
);

async fn an_interrupted_change_is_completed_by_a_repeat(installation: Installation) {
    let key = installation.init().await;
    let before = fs::read_to_string(file(&installation)).expect("the file is readable");
    // An add that stopped after it wrote the file and before it wrote the database.
    keyring(&installation, &["add"]).await.succeeded();
    assert_eq!(installation.sql("DELETE FROM keyring_keys WHERE kid = '1'").await, 1);
    let [_, (kid, key_state, file_state)] = &states(&installation).await[..] else {
        panic!("two keys")
    };
    assert!(
        kid == "1" && key_state == "-" && file_state.contains("add"),
        "{file_state}"
    );
    let server = installation.serve(&key).await;
    server.workspace("acme").await;
    let with_root = fs::read_to_string(file(&installation)).expect("the file is readable");
    let finished = keyring(&installation, &["add"]).await;
    assert!(finished.stderr.contains("interrupted"), "{finished:#?}");
    assert_eq!(finished.succeeded(), "1\n", "the same key");
    assert_eq!(
        fs::read_to_string(file(&installation)).expect("the file is readable"),
        with_root
    );
    assert_eq!(states(&installation).await[1], state("1", "VERIFIES", "OK"));

    // A retire that stopped after it wrote the database and before it marked the file.
    keyring(&installation, &["retire", "1"]).await.succeeded();
    let marked = fs::read_to_string(file(&installation)).expect("the file is readable");
    fs::write(file(&installation), &with_root).expect("the file is written");
    let (_, retired, file_state) = states(&installation).await.remove(1);
    assert!(retired == "RETIRED" && file_state.contains("retire"), "{file_state}");
    keyring(&installation, &["retire", "1"]).await.succeeded();
    assert_eq!(
        fs::read_to_string(file(&installation)).expect("the file is readable"),
        marked
    );
    // The file keeps the key retired, even if the database is changed.
    installation
        .sql("UPDATE keyring_keys SET state = 'VERIFIES' WHERE kid = '1'")
        .await;
    server.stop().await;
    fs::write(file(&installation), &before).expect("the file is written");
    let sentence = installation.refused_to_serve::<&str>([]).await;
    assert!(sentence.contains("lacks key 1"), "an older copy is refused: {sentence}");
}

async fn a_file_of_version_1_is_upgraded(installation: Installation) {
    let key = installation.init().await;
    let text = fs::read_to_string(file(&installation)).expect("the file is readable");
    let old = text
        .replace("version = 2", "version = 1")
        .replace("retired = false", "active = true");
    assert_ne!(old, text);
    fs::write(file(&installation), &old).expect("the file is written");
    let server = installation.serve(&key).await;
    server.workspace("acme").await;
    keyring(&installation, &["add"]).await.succeeded();
    let new = fs::read_to_string(file(&installation)).expect("the file is readable");
    assert!(new.starts_with(&text), "the file has the same key in the new form");
    keyring(&installation, &["activate", "1", "--force"]).await.succeeded();
    signs_with(&server, "workspaces/acme", "1").await;
}

async fn the_file_keeps_its_mode_and_is_replaced_whole(installation: Installation) {
    installation.init().await;
    let mode = |path: &Path| fs::metadata(path).expect("the file exists").permissions().mode() & 0o777;
    keyring(&installation, &["add"]).await.succeeded();
    assert_eq!(mode(&file(&installation)), 0o600);
    // The group keeps its read permission.
    fs::set_permissions(file(&installation), fs::Permissions::from_mode(0o640)).expect("the mode is set");
    // If the file is a link, its target is replaced.
    let elsewhere = installation.directory().join("secret");
    fs::rename(file(&installation), &elsewhere).expect("the file is renamed");
    std::os::unix::fs::symlink(&elsewhere, file(&installation)).expect("the link is created");
    keyring(&installation, &["add"]).await.succeeded();
    assert_eq!(mode(&elsewhere), 0o640);
    assert!(file(&installation).is_symlink());
    for directory in [installation.data_dir(), installation.directory().to_owned()] {
        let entries = fs::read_dir(directory)
            .expect("the directory is readable")
            .map(|entry| entry.expect("the entry is readable").file_name());
        let drafts: Vec<_> = entries.filter(|name| name.to_string_lossy().contains(".new")).collect();
        assert!(drafts.is_empty(), "{drafts:?}");
    }
}
