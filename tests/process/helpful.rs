//! Command output is helpful and correct: it quotes the input, names the next command, and shows no stale state.

use std::net::TcpListener;

use tokend_client::v1::Role;
use tokend_tests::{Finished, Installation, Process, Server, on_sqlite, question, token_in};

on_sqlite!(
    an_invalid_name_is_quoted,
    a_policy_that_is_not_saved_is_not_shown_as_stored,
    a_deleted_caller_is_shown_as_deleted,
    without_a_server_a_secret_is_identified_by_its_form,
    an_unrecorded_use_is_not_shown_as_never,
    advice_names_commands,
    usage_errors_show_the_usage_of_the_command,
    rotating_a_revoked_successor_is_not_suggested,
);

async fn run(installation: &Installation, server: &Server, key: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = installation.command(arguments.iter().copied());
    command
        .env("TOKEND_ADDRESS", server.grpc_address())
        .env("TOKEND_CALLER_KEY", key);
    Process::spawn(command, input).finish().await
}

async fn an_invalid_name_is_quoted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let malformed = format!("{acme}/tokens/malformed");
    // Both argument orders: a position would depend on the order.
    for names in [[&token, &malformed], [&malformed, &token]] {
        let revoke = ["token", "revoke", names[0], names[1]];
        let finished = run(&installation, &server, server.admin_key(), &revoke, "").await;
        assert_eq!(finished.code(), 1, "{finished:#?}");
        assert!(
            finished.stderr.contains(&format!("\"{malformed}\"")) && !finished.stderr.contains("names["),
            "{finished:#?}"
        );
    }
    let get = ["token", "get", "malformed", "--workspace", "acme"];
    let sentence = run(&installation, &server, server.admin_key(), &get, "")
        .await
        .failed_with_a_sentence();
    assert!(
        sentence.contains("17 letters or digits") && !sentence.contains("must be a name of the form"),
        "{sentence}"
    );
}

async fn a_policy_that_is_not_saved_is_not_shown_as_stored(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let update = ["policy", "update", "acme", "--max-lifetime", "90d"];
    let dry_run = [&update[..], &["--dry-run"]].concat();
    let shown = run(&installation, &server, server.admin_key(), &dry_run, "")
        .await
        .succeeded();
    assert!(
        shown.contains("90d") && shown.contains("NOT SAVED") && !shown.contains("etag"),
        "{shown}"
    );
    let shown = run(
        &installation,
        &server,
        server.admin_key(),
        &["policy", "get", "acme"],
        "",
    )
    .await
    .succeeded();
    assert!(!shown.contains("90d"), "{shown}");
    let shown = run(&installation, &server, server.admin_key(), &update, "")
        .await
        .succeeded();
    assert!(
        shown.contains("90d") && !shown.contains("NOT SAVED") && shown.contains("etag"),
        "{shown}"
    );
}

async fn a_deleted_caller_is_shown_as_deleted(installation: Installation) {
    let server = installation.start().await;
    server.caller("gate", Role::Verifier).await;
    let shown = run(
        &installation,
        &server,
        server.admin_key(),
        &["caller", "delete", "gate"],
        "",
    )
    .await
    .succeeded();
    assert!(shown.contains("callers/gate") && shown.contains("DELETED"), "{shown}");
}

async fn without_a_server_a_secret_is_identified_by_its_form(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let secret = server.token(token_in(&acme)).await.secret;
    let unused = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("the listener binds")
        .to_string();
    let mut identify = installation.command(["token", "identify", "--address", &unused]);
    identify.env("TOKEND_CALLER_KEY", server.admin_key());
    let finished = Process::spawn(identify, &secret).finish().await;
    assert!(
        finished.stderr.contains(&unused) && finished.stderr.contains("spelling"),
        "{finished:#?}"
    );
    let shown = finished.succeeded();
    assert!(
        shown.contains(&secret[6..23]) && shown.contains("workspace token"),
        "{shown}"
    );
    // A server's error is not replaced by a guess.
    let foreign = format!("{}x", &secret[..secret.len() - 1]);
    let finished = run(&installation, &server, "tkdc_nobody", &["token", "identify"], &foreign).await;
    assert_eq!(finished.code(), 4, "{finished:#?}");
}

async fn an_unrecorded_use_is_not_shown_as_never(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.verdict(question(&token.secret, &acme, &["repository"])).await;
    for command in [
        &["token", "get", &token.public.name][..],
        &["token", "list", "--workspace", "acme"],
    ] {
        let shown = run(&installation, &server, server.admin_key(), command, "")
            .await
            .succeeded();
        // Either the use is recorded, or the command says that recording takes a while.
        assert!(
            !shown.contains("never") || shown.contains("never (up to a minute late)"),
            "{shown}"
        );
    }
}

async fn advice_names_commands(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let auditor = server.caller("auditor", Role::Auditor).await.secret;
    let create = [
        "token",
        "create",
        "--workspace",
        "acme",
        "--name",
        "ci",
        "--scope",
        "repository",
        "--ttl",
        "1d",
    ];
    let finished = run(&installation, &server, &auditor, &create, "").await;
    assert_eq!(finished.code(), 4, "{finished:#?}");
    assert!(
        finished.stderr.contains("`tokend token create`") && !finished.stderr.contains("CreateToken"),
        "{finished:#?}"
    );
    let finished = run(
        &installation,
        &server,
        server.admin_key(),
        &["token", "identify"],
        &auditor,
    )
    .await;
    assert!(finished.stderr.contains("`tokend caller key revoke`"), "{finished:#?}");
}

async fn usage_errors_show_the_usage_of_the_command(installation: Installation) {
    for (arguments, usage) in [
        (&["token", "revoke", "x"][..], "Usage: tokend-under-test token revoke "),
        (&["token", "get", "x"], "Usage: tokend-under-test token get "),
        (&["token", "create"], "Usage: tokend-under-test token create "),
        (&["verify", "--nothing"], "Usage: tokend-under-test verify "),
        (
            &["caller", "key", "create"],
            "Usage: tokend-under-test caller key create ",
        ),
    ] {
        let mut command = installation.command(arguments.iter().copied());
        command
            .env("TOKEND_ADDRESS", "127.0.0.1:1")
            .env("TOKEND_CA_FILE", "ca.crt");
        let finished = Process::spawn(command, "").finish().await;
        assert_eq!(finished.code(), 2, "{finished:#?}");
        assert!(finished.stderr.contains(usage), "{arguments:?}: {finished:#?}");
        assert!(
            !finished.stderr.contains("--address") && !finished.stderr.contains("--ca-file"),
            "{finished:#?}"
        );
    }
    let mut serve = installation.command(["serve", "--nothing"]);
    serve.env("TOKEND_DATA_DIR", "data");
    let finished = Process::spawn(serve, "").finish().await;
    assert!(
        finished.stderr.contains("Usage: tokend-under-test serve [OPTIONS]\n"),
        "{finished:#?}"
    );
}

async fn rotating_a_revoked_successor_is_not_suggested(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let rotate = ["token", "rotate", &old];
    let secret = run(&installation, &server, server.admin_key(), &rotate, "")
        .await
        .succeeded();
    let successor = format!("{acme}/tokens/{}", &secret[6..23]);
    let sentence = run(&installation, &server, server.admin_key(), &rotate, "")
        .await
        .failed_with_a_sentence();
    assert!(
        sentence.contains(&format!("{successor}: rotate that one")),
        "{sentence}"
    );
    server.revoke(&successor).await;
    let sentence = run(&installation, &server, server.admin_key(), &rotate, "")
        .await
        .failed_with_a_sentence();
    assert!(
        sentence.contains(&successor) && sentence.contains("create a new token"),
        "{sentence}"
    );
}
