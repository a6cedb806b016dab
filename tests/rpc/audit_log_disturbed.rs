//! The audit log while a server stops, after a record was edited, and when a connection closes.

use std::{fs, time::Duration};

use tokend_client::v1::ErrorReason;
use tokend_tests::{Installation, Process, Records, on_sqlite, refusal, token_in};
use tokio::time::timeout;
use tonic::Code;

use crate::audit_log::{list, sequences, watch};

on_sqlite!(
    a_watch_does_not_delay_shutdown,
    an_edited_record_is_not_returned,
    the_command_line_lists_exports_and_watches,
    the_command_line_reconnects_when_its_connection_closes,
);

async fn a_watch_does_not_delay_shutdown(installation: Installation) {
    let server = installation.start().await;
    let mut watch = watch(server.admin(), "-", 0)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    for _ in 0..3 {
        watch
            .message()
            .await
            .expect("the watch does not fail")
            .expect("the watch sends an event");
    }
    let finished = timeout(Duration::from_secs(10), server.stop())
        .await
        .expect("shutdown does not wait for the watch");
    assert!(finished.status.success(), "{finished:#?}");
    assert_eq!(watch.message().await.expect("the watch closes without an error"), None);
}

async fn an_edited_record_is_not_returned(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    records
        .execute("UPDATE audit_events SET detail = 'nothing' WHERE chain = 'acme' AND sequence = 2")
        .await;
    let events = list(server.admin(), &acme, 0, "")
        .await
        .expect("ListAuditEvents succeeds")
        .into_inner()
        .events;
    assert_eq!(sequences(&events), [1]);
    let mut watch = watch(server.admin(), &acme, 0)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    // A watch must not skip an event, so it fails at the edited record.
    let status = loop {
        if let Err(status) = watch.message().await {
            break status;
        }
    };
    refusal(&status, Code::Internal, ErrorReason::InternalFault);
}

async fn the_command_line_lists_exports_and_watches(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..3 {
        server.token(token_in(&acme)).await;
    }
    let command = |arguments: &[&str]| {
        let mut command = installation.command(arguments);
        command
            .args(["--address", server.grpc_address()])
            .env("TOKEND_CALLER_KEY", server.admin_key());
        command
    };
    let run = async |arguments: &[&str]| Process::spawn(command(arguments), "").finish().await.succeeded();
    let table = run(&["audit", "list", "--workspace", "acme"]).await;
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(
        table
            .lines()
            .nth(4)
            .expect("the table has five lines")
            .contains("workspace.created"),
        "{table}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&run(&["audit", "list", "-o", "json"]).await).expect("the output is JSON");
    assert_eq!(json["events"][0]["type"], "workspace.created");

    let lines = |text: String| -> Vec<serde_json::Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).expect("each line is a JSON object"))
            .collect()
    };
    let all = lines(run(&["audit", "export", "--workspace", "acme"]).await);
    assert_eq!(
        all.iter()
            .map(|event| event["sequence"].as_str().expect("the sequence is a string"))
            .collect::<Vec<_>>(),
        ["1", "2", "3", "4"]
    );
    let rest = lines(run(&["audit", "export", "--workspace", "acme", "--after-sequence", "3"]).await);
    assert_eq!(rest, all[3..]);
    assert!(
        run(&["audit", "export", "--workspace", "acme", "--after-sequence", "4"])
            .await
            .is_empty()
    );

    let watching = Process::spawn(
        command(&[
            "audit",
            "watch",
            "--workspace",
            "acme",
            "--after-sequence",
            "3",
            "-o",
            "json",
        ]),
        "",
    );
    tokend_tests::eventually("the event is printed", async || {
        (watching.stdout().lines().count() == 1).then_some(())
    })
    .await;
    assert_eq!(lines(watching.stdout()), all[3..]);
}

async fn the_command_line_reconnects_when_its_connection_closes(installation: Installation) {
    let config = installation.directory().join("config.toml");
    let limits =
        "[limits]\nconnection_age_ms = 500\nconnection_age_jitter_percent = 0\nconnection_age_grace_ms = 100\n";
    fs::write(&config, limits).expect("the file can be written");
    let server = installation
        .start_with(["--config", config.to_str().expect("the path is UTF-8")])
        .await;
    let acme = server.workspace("acme").await;
    let mut command = installation.command(["audit", "watch", "--workspace", "acme"]);
    command
        .args(["--address", server.grpc_address()])
        .env("TOKEND_CALLER_KEY", server.admin_key());
    let watching = Process::spawn(command, "");
    let printed = || {
        watching
            .stdout()
            .lines()
            .map(|line| {
                line.split(' ')
                    .next()
                    .expect("the line starts with a number")
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    for sequence in 1..=4 {
        tokend_tests::eventually("the event is printed", async || {
            (printed().len() == sequence).then_some(())
        })
        .await;
        // This is longer than the maximum age of a connection.
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.token(token_in(&acme)).await;
    }
    tokend_tests::eventually("the event is printed", async || (printed().len() == 5).then_some(())).await;
    assert_eq!(printed(), ["1", "2", "3", "4", "5"], "each once, in order");
}
