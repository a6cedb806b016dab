//! The revocations file has every revocation, even after a crash. `tokend restore` refuses a file that is incomplete or
//! changed.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use tokend_client::v1::{Decision, DenyReason};
use tokend_tests::{Backup, Installation, Process, on_both_databases, question, token_in};

use crate::restore::{exported, file, lines, restore, serve};

on_both_databases!(
    a_crash_before_the_export_loses_no_revocation,
    an_invalid_revocations_file_changes_nothing,
);

async fn a_crash_before_the_export_loses_no_revocation(installation: Installation) {
    let admin_key = installation.init().await;
    // Revocations while no server exports are not lost either.
    let server = installation.serve(&admin_key).await;
    let acme = server.workspace("acme").await;
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(server.token(token_in(&acme)).await.public.name);
    }
    server.revoke(&names[0]).await;
    assert!(server.stop().await.status.success());
    for name in &names[1..] {
        let server = serve(&installation, &admin_key).await;
        server.revoke(name).await;
        // Right after the revocation, which is rarely in the file yet.
        server.kill();
        // An incomplete line, as after a power failure.
        let mut torn = OpenOptions::new()
            .append(true)
            .create(true)
            .open(file(&installation))
            .expect("the file opens");
        torn.write_all(b"{\"version\":1,\"epo").expect("the file is written");
    }
    let server = serve(&installation, &admin_key).await;
    exported(&installation, &names[4]).await;
    let lines = lines(&installation);
    assert_eq!(lines.len(), names.len(), "one line per revocation: {lines:#?}");
    for (line, name) in lines.iter().zip(&names) {
        let line: serde_json::Value = serde_json::from_str(line).expect("the line is JSON");
        let line = &line["ending"];
        assert_eq!(
            (line["name"].as_str(), line["kind"].as_str()),
            (Some(name.as_str()), Some("token.revoked"))
        );
    }
    // After the file is removed, the server writes a new file with every revocation.
    assert!(server.stop().await.status.success());
    fs::remove_file(file(&installation)).expect("the file is removed");
    let server = serve(&installation, &admin_key).await;
    exported(&installation, &names[4]).await;
    assert!(server.stop().await.status.success());
    assert_eq!(crate::restore::lines(&installation), lines);
}

async fn an_invalid_revocations_file_changes_nothing(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(server.token(token_in(&acme)).await);
    }
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;
    let server = serve(&installation, &admin_key).await;
    for token in &tokens[..3] {
        server.revoke(&token.public.name).await;
    }
    assert!(server.stop().await.status.success());
    backup.restore(&installation).await;

    let all_lines = lines(&installation);
    assert_eq!(all_lines.len(), 3);
    let write_lines = |lines: &[String]| fs::write(file(&installation), lines.concat()).expect("the file is written");
    let terminated = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>();
    let other_name = all_lines[1].replace(&tokens[1].public.name, &tokens[3].public.name);
    assert_ne!(other_name, all_lines[1]);
    for (lines, expected) in [
        (terminated(&[&all_lines[0], &other_name, &all_lines[2]]), "line 2"),
        (terminated(&[&all_lines[0], "garbage"]), "line 2"),
        (terminated(&[&all_lines[0], &all_lines[2]]), "missing before line 2"),
        (terminated(&[&all_lines[1], &all_lines[2]]), "missing before line 1"),
        (terminated(&[&all_lines[0], &all_lines[0]]), "missing before line 2"),
        (
            terminated(&[&all_lines[0].replace("\"version\":1", "\"version\":2")]),
            "later version",
        ),
    ] {
        write_lines(&lines);
        let sentence = restore(&installation).await.failed_with_a_sentence();
        assert!(sentence.contains(expected), "{sentence}");
    }
    let without_file = installation.serve(&admin_key).await;
    assert_eq!(
        without_file
            .verdict(question(&tokens[0].secret, &acme, &[]))
            .await
            .decision(),
        Decision::Allow,
        "the token is not revoked"
    );
    assert!(without_file.stop().await.status.success());
    write_lines(&terminated(&[&all_lines[0], &all_lines[1], &all_lines[2]]));
    assert!(restore(&installation).await.status.success());
    let server = installation.serve(&admin_key).await;
    assert_eq!(
        server
            .verdict(question(&tokens[0].secret, &acme, &[]))
            .await
            .deny_reason(),
        DenyReason::Revoked
    );
    assert_eq!(
        server.verdict(question(&tokens[3].secret, &acme, &[])).await.decision(),
        Decision::Allow
    );
}

mod of_several_servers {
    use tokend_tests::on_postgres;

    use super::*;

    on_postgres!(two_servers_do_not_share_a_file);

    async fn two_servers_do_not_share_a_file(installation: Installation) {
        let admin_key = installation.init().await;
        let _server = serve(&installation, &admin_key).await;
        let mut second =
            installation.command_on_data(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        second.arg("--revocations-file").arg(file(&installation));
        let sentence = Process::spawn(second, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains("another server writes"), "{sentence}");
    }
}
