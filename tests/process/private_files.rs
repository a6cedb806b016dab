//! Files with secrets, and files that only their owner may write to: tokend neither reads nor writes a file that
//! another user could have prepared.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, eventually, on_sqlite};

on_sqlite!(
    the_key_is_not_written_to_an_existing_ready_file,
    a_fifo_as_key_ring_is_refused,
    a_new_key_ring_is_not_written_through_a_link,
    a_data_directory_that_others_can_write_to_is_refused,
    a_file_to_append_to_that_others_can_write_to_is_refused,
);

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is set");
}

async fn the_key_is_not_written_to_an_existing_ready_file(installation: Installation) {
    let (ready, leftover) = (
        installation.directory().join("ready.json"),
        installation.directory().join("ready.json.new"),
    );
    for file in [&ready, &leftover] {
        fs::write(file, "").expect("the file is written");
        set_mode(file, 0o666);
    }
    let mut dev = installation.command(["dev", "--ready-file", "ready.json"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let process = Process::spawn(dev, "");
    let ready_info = eventually("the ready file is written", async || {
        fs::read_to_string(&ready)
            .ok()
            .filter(|ready_info| !ready_info.is_empty())
    })
    .await;
    assert!(ready_info.contains("admin_key"), "{ready_info}");
    assert_eq!(
        fs::metadata(&ready).expect("the file exists").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_to_string(&leftover).expect("the file is readable"),
        "",
        "the key is not in the existing file"
    );
    process.interrupt();
    assert!(process.finish().await.status.success());

    // A link is neither followed nor replaced.
    let (link, elsewhere) = (
        installation.directory().join("link"),
        installation.directory().join("elsewhere"),
    );
    symlink(&elsewhere, &link).expect("the link is created");
    let mut dev = installation.command(["dev", "--once", "--ready-file", "link"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let finished = Process::spawn(dev, "").finish().await;
    assert!(
        finished.code() == 1 && finished.stderr.contains("link"),
        "{finished:#?}"
    );
    assert!(!elsewhere.exists());
}

async fn a_fifo_as_key_ring_is_refused(installation: Installation) {
    installation.init().await;
    let keyring = installation.data_dir().join("keyring");
    fs::remove_file(&keyring).expect("the file is removed");
    let status = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(&keyring)
        .status()
        .expect("mkfifo runs");
    assert!(status.success());
    let mut sentences = vec![installation.refused_to_serve::<&str>([]).await];
    for command in [&["init"][..], &["keyring", "status"]] {
        sentences.push(installation.run_on_data(command).await.failed_with_a_sentence());
    }
    for sentence in sentences {
        assert!(
            sentence.contains("keyring") && sentence.contains("regular file"),
            "{sentence}"
        );
    }
}

async fn a_new_key_ring_is_not_written_through_a_link(installation: Installation) {
    fs::create_dir(installation.data_dir()).expect("the directory is created");
    let elsewhere = installation.directory().join("elsewhere");
    symlink(&elsewhere, installation.data_dir().join("keyring")).expect("the link is created");
    let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
    assert!(sentence.contains("keyring"), "{sentence}");
    assert!(!elsewhere.exists(), "nothing is written through the link");
}

async fn a_data_directory_that_others_can_write_to_is_refused(installation: Installation) {
    fs::create_dir(installation.data_dir()).expect("the directory is created");
    for mode in [0o777, 0o1777, 0o702, 0o775] {
        set_mode(&installation.data_dir(), mode);
        let sentence = installation.run_on_data(["init"]).await.failed_with_a_sentence();
        assert!(
            sentence.contains(&format!("{mode:04o}")) && sentence.contains("chmod go-w"),
            "{sentence}"
        );
        assert_eq!(
            fs::read_dir(installation.data_dir())
                .expect("the directory is readable")
                .count(),
            0,
            "the directory stays empty"
        );
    }
    // A directory that is shared with a group on purpose.
    set_mode(&installation.data_dir(), 0o2770);
    let key = installation.init().await;
    drop(installation.serve(&key).await);
    set_mode(&installation.data_dir(), 0o777);
    let mut sentences = vec![installation.refused_to_serve::<&str>([]).await];
    for command in [["keyring", "status"], ["migrate", "status"], ["audit", "verify"]] {
        sentences.push(installation.run_on_data(command).await.failed_with_a_sentence());
    }
    for sentence in sentences {
        assert!(sentence.contains("0777"), "{sentence}");
    }
}

async fn a_file_to_append_to_that_others_can_write_to_is_refused(installation: Installation) {
    let key = installation.init().await;
    let (file, link) = (
        installation.directory().join("file"),
        installation.directory().join("link"),
    );
    symlink(installation.directory().join("elsewhere"), &link).expect("the link is created");
    fs::write(&file, "").expect("the file is written");
    set_mode(&file, 0o666);
    for setting in ["--audit-checkpoint-file", "--revocations-file"] {
        for (path, problem) in [(&file, "chmod go-w"), (&link, "symbolic link")] {
            let mut serve = installation.command_on_data(["serve", "--log", "error"]);
            serve.args(SERVE_ON_FREE_PORTS).arg(setting).arg(path);
            let sentence = Process::spawn(serve, "").finish().await.failed_with_a_sentence();
            assert!(
                sentence.contains(problem) && sentence.contains(path.to_str().expect("the value is text")),
                "{setting}: {sentence}"
            );
        }
    }
    assert!(!installation.directory().join("elsewhere").exists());
    set_mode(&file, 0o600);
    let path = file.to_str().expect("the value is text");
    drop(installation.serve_with(&key, ["--revocations-file", path]).await);
}
