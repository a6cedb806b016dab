//! Files with secrets, and those that nobody else may write to: what others have prepared is neither used nor written to.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, eventually, on_sqlite};

on_sqlite!(
    a_ready_file_that_was_prepared_gets_no_key,
    a_fifo_is_no_key_ring,
    a_link_is_no_place_for_a_new_key_ring,
    a_data_directory_that_others_can_write_to_is_refused,
    what_is_appended_to_is_nobody_elses,
);

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode is set");
}

async fn a_ready_file_that_was_prepared_gets_no_key(installation: Installation) {
    let (ready, leftover) = (installation.directory().join("ready.json"), installation.directory().join("ready.json.new"));
    for file in [&ready, &leftover] {
        fs::write(file, "").expect("it can be written");
        set_mode(file, 0o666);
    }
    let mut dev = installation.command(["dev", "--ready-file", "ready.json"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let process = Process::spawn(dev, "");
    let told = eventually("it serves", async || fs::read_to_string(&ready).ok().filter(|told| !told.is_empty())).await;
    assert!(told.contains("admin_key"), "{told}");
    assert_eq!(fs::metadata(&ready).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&leftover).expect("it can be read"), "", "nobody reads along");
    process.interrupt();
    assert!(process.finish().await.status.success());

    // A link is not followed, nor replaced.
    let (link, elsewhere) = (installation.directory().join("link"), installation.directory().join("elsewhere"));
    symlink(&elsewhere, &link).expect("a link");
    let mut dev = installation.command(["dev", "--once", "--ready-file", "link"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let finished = Process::spawn(dev, "").finish().await;
    assert!(finished.code() == 1 && finished.stderr.contains("link"), "{finished:#?}");
    assert!(!elsewhere.exists());
}

async fn a_fifo_is_no_key_ring(installation: Installation) {
    installation.init().await;
    let keyring = installation.data_dir().join("keyring");
    fs::remove_file(&keyring).expect("it was there");
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(&keyring).status().expect("mkfifo is there");
    assert!(made.success());
    for command in [&["serve", "--log", "error"][..], &["init"], &["keyring", "status"]] {
        let sentence = installation.run_on_data(command).await.failed_with_a_sentence();
        assert!(sentence.contains("keyring") && sentence.contains("regular file"), "{sentence}");
    }
}

async fn a_link_is_no_place_for_a_new_key_ring(installation: Installation) {
    fs::create_dir(installation.data_dir()).expect("it can be made");
    let elsewhere = installation.directory().join("elsewhere");
    symlink(&elsewhere, installation.data_dir().join("keyring")).expect("a link");
    let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
    assert!(sentence.contains("keyring"), "{sentence}");
    assert!(!elsewhere.exists(), "nothing was written through the link");
}

async fn a_data_directory_that_others_can_write_to_is_refused(installation: Installation) {
    fs::create_dir(installation.data_dir()).expect("it can be made");
    for mode in [0o777, 0o1777, 0o702, 0o775] {
        set_mode(&installation.data_dir(), mode);
        let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
        assert!(sentence.contains(&format!("{mode:04o}")) && sentence.contains("chmod go-w"), "{sentence}");
        assert_eq!(fs::read_dir(installation.data_dir()).expect("it is there").count(), 0, "nothing was made in it");
    }
    // One that is shared with a group on purpose.
    set_mode(&installation.data_dir(), 0o2770);
    let key = installation.init().await;
    drop(installation.serve(&key).await);
    set_mode(&installation.data_dir(), 0o777);
    for command in [&["serve", "--log", "error"][..], &["keyring", "status"], &["migrate", "status"], &["audit", "verify"]] {
        let sentence = installation.run_on_data(command).await.failed_with_a_sentence();
        assert!(sentence.contains("0777"), "{sentence}");
    }
}

async fn what_is_appended_to_is_nobody_elses(installation: Installation) {
    let key = installation.init().await;
    let (file, link) = (installation.directory().join("file"), installation.directory().join("link"));
    symlink(installation.directory().join("elsewhere"), &link).expect("a link");
    fs::write(&file, "").expect("it can be written");
    set_mode(&file, 0o666);
    for setting in ["--audit-checkpoint-file", "--revocations-file"] {
        for (path, problem) in [(&file, "chmod go-w"), (&link, "symbolic link")] {
            let mut serve = installation.command_on_data(["serve", "--log", "error"]);
            serve.args(SERVE_ON_FREE_PORTS).arg(setting).arg(path);
            let sentence = Process::spawn(serve, "").finish().await.failed_with_a_sentence();
            assert!(sentence.contains(problem) && sentence.contains(path.to_str().expect("text")), "{setting}: {sentence}");
        }
    }
    assert!(!installation.directory().join("elsewhere").exists());
    set_mode(&file, 0o600);
    let path = file.to_str().expect("text");
    drop(installation.serve_with(&key, ["--revocations-file", path]).await);
}
