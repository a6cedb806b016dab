//! A command does not fail because the reader of its output is gone.

use std::process::Stdio;

use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, on_sqlite, token_in};

use crate::output::{abandoned, client, finish_onto, full, sentence};

on_sqlite!(
    a_closed_reader_is_not_an_error,
    a_watch_ends_with_its_reader,
    no_command_fails_because_stderr_is_full,
);

async fn a_closed_reader_is_not_an_error(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    for command in [
        &["--help"][..],
        &["completion", "zsh"],
        &["workspace", "list"],
        &["token", "list", "--workspace", "acme", "-o", "json"],
        &["audit", "list"],
        &["audit", "export"],
        &["scopes", "list"],
    ] {
        let finished = finish_onto(client(&installation, &server, command), abandoned()).await;
        assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""), "{command:?}");
    }
    // The exit code still reports the verdict.
    for (scope, code) in [("repository", 0), ("webhook", 3)] {
        let mut verify = client(
            &installation,
            &server,
            &["verify", "--resource", "workspaces/acme", "--scope", scope],
        );
        verify.stdout(abandoned()).stderr(Stdio::piped());
        assert_eq!(Process::spawn_onto(verify, &token.secret).finish().await.code(), code);
    }
    // A partial export must not look complete, so it is an error.
    server.revoke(&token.public.name).await;
    let finished = finish_onto(installation.command_on_data(["export-revocations"]), abandoned()).await;
    assert!(sentence(&finished).contains("stdout"), "{finished:#?}");
}

async fn a_watch_ends_with_its_reader(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let finished = finish_onto(client(&installation, &server, &["audit", "watch"]), abandoned()).await;
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
}

async fn no_command_fails_because_stderr_is_full(installation: Installation) {
    let run = async |arguments: &[&str], code: i32| {
        let mut command = installation.command_on_data(arguments.iter().copied());
        command.stdout(Stdio::piped()).stderr(full());
        let finished = Process::spawn_onto(command, "").finish().await;
        assert_eq!(finished.code(), code, "{arguments:?}: {finished:#?}");
        finished.stdout
    };
    let key = run(&["init"], 0).await;
    run(&["init"], 1).await;
    run(&["init", "--nothing"], 2).await;
    let key_of_recovery = run(&["init", "--recover"], 0).await;
    assert!(key.starts_with("tkdc_") && key_of_recovery.starts_with("tkdc_"));

    let mut serve = installation.command_on_data(["serve", "--log", "trace", "--ready-file", "ready"]);
    serve.args(SERVE_ON_FREE_PORTS).stdout(Stdio::piped()).stderr(full());
    let process = Process::spawn_onto(serve, "");
    let ready = installation.directory().join("ready");
    tokend_tests::eventually("the ready file exists", async || ready.exists().then_some(())).await;
    process.terminate();
    assert!(process.finish().await.status.success());
}
