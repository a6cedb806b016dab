//! The file in which what ended is kept outside the database: nothing is missing in it, and one that can't be relied on is refused.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use tokend_client::v1::{Decision, DenyReason};
use tokend_tests::{Backup, Installation, Process, on_both_databases, question, token_in};

use crate::restore::{exported, file, lines, restore, serve};

on_both_databases!(a_crash_between_the_change_and_the_export_loses_nothing, an_export_that_can_not_be_relied_on_changes_nothing,);

async fn a_crash_between_the_change_and_the_export_loses_nothing(installation: Installation) {
    let admin_key = installation.init().await;
    // What ends while no server exports is not lost either.
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
        // At once: seldom is it in the file by now.
        server.kill();
        // As if the machine had failed in the middle of a line.
        let mut torn = OpenOptions::new().append(true).create(true).open(file(&installation)).expect("it can be opened");
        torn.write_all(b"{\"version\":1,\"epo").expect("it can be written");
    }
    let server = serve(&installation, &admin_key).await;
    exported(&installation, &names[4]).await;
    let lines = lines(&installation);
    assert_eq!(lines.len(), names.len(), "each once: {lines:#?}");
    for (line, name) in lines.iter().zip(&names) {
        let line: serde_json::Value = serde_json::from_str(line).expect("whole lines of JSON");
        let line = &line["ending"];
        assert_eq!((line["name"].as_str(), line["kind"].as_str()), (Some(name.as_str()), Some("token.revoked")));
    }
    // A file that is taken away is begun anew, with everything.
    assert!(server.stop().await.status.success());
    fs::remove_file(file(&installation)).expect("it is there");
    let server = serve(&installation, &admin_key).await;
    exported(&installation, &names[4]).await;
    assert!(server.stop().await.status.success());
    assert_eq!(crate::restore::lines(&installation), lines);
}

async fn an_export_that_can_not_be_relied_on_changes_nothing(installation: Installation) {
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

    let whole = lines(&installation);
    assert_eq!(whole.len(), 3);
    let with = |lines: &[String]| fs::write(file(&installation), lines.concat()).expect("it can be written");
    let ended = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>();
    let other_name = whole[1].replace(&tokens[1].public.name, &tokens[3].public.name);
    assert_ne!(other_name, whole[1]);
    for (lines, told) in [
        (ended(&[&whole[0], &other_name, &whole[2]]), "line 2"),
        (ended(&[&whole[0], "garbage"]), "line 2"),
        (ended(&[&whole[0], &whole[2]]), "missing before line 2"),
        (ended(&[&whole[1], &whole[2]]), "missing before line 1"),
        (ended(&[&whole[0], &whole[0]]), "missing before line 2"),
        (ended(&[&whole[0].replace("\"version\":1", "\"version\":2")]), "later version"),
    ] {
        with(&lines);
        let sentence = restore(&installation).await.failed_with_a_sentence();
        assert!(sentence.contains(told), "{sentence}");
    }
    let blind = installation.serve(&admin_key).await;
    assert_eq!(blind.verdict(question(&tokens[0].secret, &acme, &[])).await.decision(), Decision::Allow, "nothing was changed");
    assert!(blind.stop().await.status.success());
    with(&ended(&[&whole[0], &whole[1], &whole[2]]));
    assert!(restore(&installation).await.status.success());
    let server = installation.serve(&admin_key).await;
    assert_eq!(server.verdict(question(&tokens[0].secret, &acme, &[])).await.deny_reason(), DenyReason::Revoked);
    assert_eq!(server.verdict(question(&tokens[3].secret, &acme, &[])).await.decision(), Decision::Allow);
}

mod of_several_servers {
    use tokend_tests::on_postgres;

    use super::*;

    on_postgres!(two_servers_do_not_share_a_file);

    async fn two_servers_do_not_share_a_file(installation: Installation) {
        let admin_key = installation.init().await;
        let _server = serve(&installation, &admin_key).await;
        let mut second = installation.command_on_data(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        second.arg("--revocations-file").arg(file(&installation));
        let sentence = Process::spawn(second, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains("another server writes"), "{sentence}");
    }
}
