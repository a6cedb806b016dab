//! What the commands say helps: it names what was typed and what to type next, and shows nothing that is not so.

use std::net::TcpListener;

use tokend_client::v1::Role;
use tokend_tests::{Finished, Installation, Process, Server, on_sqlite, question, token_in};

on_sqlite!(
    a_name_that_does_not_fit_is_quoted,
    a_policy_that_is_not_saved_is_not_shown_as_stored,
    a_deleted_caller_is_shown_as_deleted,
    without_a_server_the_spelling_of_a_secret_is_told,
    a_use_that_is_not_recorded_yet_is_no_never,
    what_to_do_is_told_in_commands,
    usage_is_that_of_the_command,
    a_revoked_successor_is_not_to_be_rotated,
);

async fn run(installation: &Installation, server: &Server, key: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = installation.command(arguments.iter().copied());
    command.env("TOKEND_ADDRESS", server.grpc_address()).env("TOKEND_CALLER_KEY", key);
    Process::spawn(command, input).finish().await
}

async fn a_name_that_does_not_fit_is_quoted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let malformed = format!("{acme}/tokens/malformed");
    // Both orders: a number would be that of some other order.
    for names in [[&token, &malformed], [&malformed, &token]] {
        let revoke = ["token", "revoke", names[0], names[1]];
        let finished = run(&installation, &server, server.admin_key(), &revoke, "").await;
        assert_eq!(finished.code(), 1, "{finished:#?}");
        assert!(finished.stderr.contains(&format!("\"{malformed}\"")) && !finished.stderr.contains("names["), "{finished:#?}");
    }
    let get = ["token", "get", "malformed", "--workspace", "acme"];
    let sentence = run(&installation, &server, server.admin_key(), &get, "").await.failed_with_a_sentence();
    assert!(sentence.contains("17 letters or digits") && !sentence.contains("must be a name of the form"), "{sentence}");
}

async fn a_policy_that_is_not_saved_is_not_shown_as_stored(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let update = ["policy", "update", "acme", "--max-lifetime", "90d"];
    let dry_run = [&update[..], &["--dry-run"]].concat();
    let shown = run(&installation, &server, server.admin_key(), &dry_run, "").await.succeeded();
    assert!(shown.contains("90d") && shown.contains("NOT SAVED") && !shown.contains("etag"), "{shown}");
    let shown = run(&installation, &server, server.admin_key(), &["policy", "get", "acme"], "").await.succeeded();
    assert!(!shown.contains("90d"), "{shown}");
    let shown = run(&installation, &server, server.admin_key(), &update, "").await.succeeded();
    assert!(shown.contains("90d") && !shown.contains("NOT SAVED") && shown.contains("etag"), "{shown}");
}

async fn a_deleted_caller_is_shown_as_deleted(installation: Installation) {
    let server = installation.start().await;
    server.caller("gate", Role::Verifier).await;
    let shown = run(&installation, &server, server.admin_key(), &["caller", "delete", "gate"], "").await.succeeded();
    assert!(shown.contains("callers/gate") && shown.contains("DELETED"), "{shown}");
}

async fn without_a_server_the_spelling_of_a_secret_is_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let secret = server.token(token_in(&acme)).await.secret;
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let mut identify = installation.command(["token", "identify", "--address", &unused]);
    identify.env("TOKEND_CALLER_KEY", server.admin_key());
    let finished = Process::spawn(identify, &secret).finish().await;
    assert!(finished.stderr.contains(&unused) && finished.stderr.contains("spelling"), "{finished:#?}");
    let shown = finished.succeeded();
    assert!(shown.contains(&secret[6..23]) && shown.contains("workspace token"), "{shown}");
    // What a server has said is not replaced by a guess.
    let foreign = format!("{}x", &secret[..secret.len() - 1]);
    let finished = run(&installation, &server, "tkdc_nobody", &["token", "identify"], &foreign).await;
    assert_eq!(finished.code(), 4, "{finished:#?}");
}

async fn a_use_that_is_not_recorded_yet_is_no_never(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.verdict(question(&token.secret, &acme, &["repository"])).await;
    for command in [&["token", "get", &token.public.name][..], &["token", "list", "--workspace", "acme"]] {
        let shown = run(&installation, &server, server.admin_key(), command, "").await.succeeded();
        // Either it is recorded by now, or the command says that this takes a while.
        assert!(!shown.contains("never") || shown.contains("never (up to a minute late)"), "{shown}");
    }
}

async fn what_to_do_is_told_in_commands(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let auditor = server.caller("auditor", Role::Auditor).await.secret;
    let create = ["token", "create", "--workspace", "acme", "--name", "ci", "--scope", "repository", "--ttl", "1d"];
    let finished = run(&installation, &server, &auditor, &create, "").await;
    assert_eq!(finished.code(), 4, "{finished:#?}");
    assert!(finished.stderr.contains("`tokend token create`") && !finished.stderr.contains("CreateToken"), "{finished:#?}");
    let finished = run(&installation, &server, server.admin_key(), &["token", "identify"], &auditor).await;
    assert!(finished.stderr.contains("`tokend caller key revoke`"), "{finished:#?}");
}

async fn usage_is_that_of_the_command(installation: Installation) {
    for (arguments, usage) in [
        (&["token", "revoke", "x"][..], "Usage: tokend-under-test token revoke "),
        (&["token", "get", "x"], "Usage: tokend-under-test token get "),
        (&["token", "create"], "Usage: tokend-under-test token create "),
        (&["verify", "--nothing"], "Usage: tokend-under-test verify "),
        (&["caller", "key", "create"], "Usage: tokend-under-test caller key create "),
    ] {
        let mut command = installation.command(arguments.iter().copied());
        command.env("TOKEND_ADDRESS", "127.0.0.1:1").env("TOKEND_CA_FILE", "ca.crt");
        let finished = Process::spawn(command, "").finish().await;
        assert_eq!(finished.code(), 2, "{finished:#?}");
        assert!(finished.stderr.contains(usage), "{arguments:?}: {finished:#?}");
        assert!(!finished.stderr.contains("--address") && !finished.stderr.contains("--ca-file"), "{finished:#?}");
    }
    let mut serve = installation.command(["serve", "--nothing"]);
    serve.env("TOKEND_DATA_DIR", "data");
    let finished = Process::spawn(serve, "").finish().await;
    assert!(finished.stderr.contains("Usage: tokend-under-test serve [OPTIONS]\n"), "{finished:#?}");
}

async fn a_revoked_successor_is_not_to_be_rotated(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let rotate = ["token", "rotate", &old];
    let secret = run(&installation, &server, server.admin_key(), &rotate, "").await.succeeded();
    let successor = format!("{acme}/tokens/{}", &secret[6..23]);
    let sentence = run(&installation, &server, server.admin_key(), &rotate, "").await.failed_with_a_sentence();
    assert!(sentence.contains(&format!("{successor}: rotate that one")), "{sentence}");
    server.revoke(&successor).await;
    let sentence = run(&installation, &server, server.admin_key(), &rotate, "").await.failed_with_a_sentence();
    assert!(sentence.contains(&successor) && sentence.contains("create a new token"), "{sentence}");
}
