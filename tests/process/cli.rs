//! The client commands: their input, output and exit codes.

use std::fs;

use tokend_client::v1::Role;
use tokend_tests::{Finished, Installation, Process, Server, on_both_databases, on_sqlite, token_in};

on_both_databases!(
    a_token_is_created_rotated_and_revoked,
    a_workspace_is_created_suspended_and_deleted
);

mod anywhere {
    use super::*;

    on_sqlite!(
        exit_codes_distinguish_the_outcomes,
        a_key_comes_from_a_file_or_the_environment,
        no_secret_is_accepted_as_an_argument,
        a_secret_in_the_wrong_place_is_not_printed,
        verify_fails_without_a_server,
        json_output_can_be_parsed,
    );

    async fn exit_codes_distinguish_the_outcomes(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let verify = async |key: &str, scope: &str| {
            let arguments = ["verify", "--resource", "workspaces/acme", "--scope", scope];
            tokend(&installation, &server, key, &arguments, &token.secret)
                .await
                .code()
        };
        assert_eq!(verify(server.admin_key(), "repository").await, 0, "ALLOW");
        assert_eq!(verify(server.admin_key(), "webhook").await, 3, "DENY");
        assert_eq!(verify("garbage", "repository").await, 4, "not authenticated");
        assert_eq!(
            verify(&token.secret, "repository").await,
            4,
            "a token is not a caller key"
        );
        let auditor = server.caller("auditor", Role::Auditor).await;
        assert_eq!(
            verify(&auditor.secret, "repository").await,
            4,
            "the role does not permit the call"
        );
        assert_eq!(verify(server.admin_key(), "everything").await, 1, "an invalid request");

        let run = async |arguments: &[&str]| tokend(&installation, &server, server.admin_key(), arguments, "").await;
        for usage in [
            &["verify"][..],
            &["token", "create"],
            &["nothing"],
            &["verify", "--nothing"],
            &[],
        ] {
            let finished = run(usage).await;
            assert_eq!((finished.code(), finished.stdout.as_str()), (2, ""), "{usage:?}");
        }
        for fine in [
            &["--help"][..],
            &["--version"],
            &["token", "--help"],
            &["completion", "bash"],
        ] {
            assert!(!run(fine).await.succeeded().is_empty(), "{fine:?}");
        }
        run(&["token", "get", &format!("{acme}/tokens/00000000001000002")])
            .await
            .failed_with_a_sentence();
    }

    async fn a_secret_in_the_wrong_place_is_not_printed(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let secret = server.token(token_in(&acme)).await.secret;
        for arguments in [
            &["token", "get", &secret][..],
            &["token", "revoke", &secret, "--reason", "leaked"],
            &["caller", "key", "list", &secret],
            &["caller", "key", "revoke", &secret],
            &["workspace", "get", &secret],
            &[
                "token",
                "list",
                "--workspace",
                "acme",
                "--filter",
                &format!("labels.a = {secret} x"),
            ],
            &[&secret],
            &["token", &format!("--{secret}")],
            &[
                "token",
                "create",
                "--workspace",
                "acme",
                "--name",
                &secret,
                "--scope",
                "repository",
                "--ttl",
                "30d",
            ],
            &[
                "token",
                "create",
                "--workspace",
                "acme",
                "--name",
                "ci",
                "--scope",
                &secret,
                "--ttl",
                &secret,
            ],
        ] {
            let finished = tokend(&installation, &server, server.admin_key(), arguments, "").await;
            assert!([1, 2].contains(&finished.code()), "{arguments:?}: {finished:#?}");
            let printed = finished.stdout + &finished.stderr;
            assert!(!printed.contains(&secret[24..32]), "{arguments:?}: {printed}");
        }
    }

    async fn a_key_comes_from_a_file_or_the_environment(installation: Installation) {
        let server = installation.start().await;
        server.workspace("acme").await;
        let list = || installation.command(["workspace", "list", "--address", server.grpc_address()]);
        let finished = Process::spawn(list(), "").finish().await;
        assert_eq!(finished.code(), 4, "no key: {finished:#?}");

        let file = installation.directory().join("key");
        fs::write(&file, format!("{}\n", server.admin_key())).expect("the file is written");
        let mut from_file = list();
        from_file.arg("--caller-key-file").arg(&file);
        assert!(
            Process::spawn(from_file, "")
                .finish()
                .await
                .succeeded()
                .contains("acme")
        );
        let mut from_environment = list();
        from_environment.env("TOKEND_CALLER_KEY", server.admin_key());
        assert!(
            Process::spawn(from_environment, "")
                .finish()
                .await
                .succeeded()
                .contains("acme")
        );
    }

    async fn no_secret_is_accepted_as_an_argument(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let secret = server.token(token_in(&acme)).await.secret;
        for arguments in [
            ["verify", "--resource", "workspaces/acme", &secret].as_slice(),
            &["verify", "--resource", "workspaces/acme", "--token", &secret],
            &["token", "identify", &secret],
            &["workspace", "list", "--caller-key", server.admin_key()],
        ] {
            let finished = tokend(&installation, &server, server.admin_key(), arguments, "").await;
            assert_eq!(finished.code(), 2, "{:?}: {finished:#?}", &arguments[..2]);
        }
        let help = tokend(&installation, &server, "", &["verify", "--help"], "")
            .await
            .succeeded();
        assert!(!help.contains("--token"), "{help}");
    }

    async fn verify_fails_without_a_server(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let key = server.admin_key().to_owned();
        let address = server.grpc_address().to_owned();
        assert!(server.stop().await.status.success());
        let mut verify = installation.command(["verify", "--resource", "workspaces/acme", "--address", &address]);
        verify.env("TOKEND_CALLER_KEY", key);
        let sentence = Process::spawn(verify, &token.secret)
            .finish()
            .await
            .failed_with_a_sentence();
        assert!(sentence.contains(&address), "{sentence}");
    }

    async fn json_output_can_be_parsed(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let name = token.public.name.as_str();
        let json = async |arguments: &[&str], input: &str| -> serde_json::Value {
            let arguments = [arguments, &["-o", "json"]].concat();
            let output = tokend(&installation, &server, server.admin_key(), &arguments, input).await;
            serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:#?}"))
        };
        let got = json(&["token", "get", name], "").await;
        assert!(got.to_string().contains(name), "{got}");
        let verdict = json(&["verify", "--resource", "workspaces/acme"], &token.secret).await;
        assert_eq!(verdict["decision"], "DECISION_ALLOW", "{verdict}");
        let verdict = json(
            &["verify", "--resource", "workspaces/acme", "--scope", "webhook"],
            &token.secret,
        )
        .await;
        assert_eq!(verdict["deny_reason"], "DENY_REASON_INSUFFICIENT_SCOPE", "{verdict}");
    }
}

/// Runs a client command with this caller key in its environment.
async fn tokend(installation: &Installation, server: &Server, key: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = installation.command(arguments.iter().copied());
    command
        .env("TOKEND_ADDRESS", server.grpc_address())
        .env("TOKEND_CALLER_KEY", key);
    Process::spawn(command, input).finish().await
}

async fn a_token_is_created_rotated_and_revoked(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let run = async |arguments: &[&str], input: &str| {
        tokend(&installation, &server, server.admin_key(), arguments, input).await
    };

    let create = [
        "token",
        "create",
        "--workspace",
        "acme",
        "--name",
        "ci",
        "--scope",
        "repository:write",
        "--ttl",
        "30d",
    ];
    let created = run(&create, "").await;
    assert!(created.status.success(), "{created:#?}");
    let secret = created.stdout.strip_suffix('\n').expect("stdout is one line");
    assert!(
        secret.starts_with("tkdw_") && secret.len() == 74,
        "stdout has only the secret: {created:#?}"
    );
    assert!(!created.stderr.contains(secret), "{created:#?}");
    let id = &secret[6..23];
    let name = format!("workspaces/acme/tokens/{id}");
    assert!(
        created.stderr.contains(&name),
        "stderr has the token's name: {created:#?}"
    );

    let verify = [
        "verify",
        "--resource",
        "workspaces/acme/repositories/site",
        "--scope",
        "repository:write",
    ];
    let verdict = run(&verify, created.stdout.as_str()).await;
    assert_eq!(verdict.code(), 0, "{verdict:#?}");
    assert!(verdict.stdout.contains("ALLOW"), "{verdict:#?}");

    for arguments in [
        &["token", "get", &name][..],
        &["token", "get", id, "--workspace", "acme"],
    ] {
        let shown = run(arguments, "").await.succeeded();
        assert!(
            shown.contains(&name) && shown.contains("ACTIVE") && !shown.contains(&secret[24..]),
            "{shown}"
        );
    }
    let rotated = run(&["token", "rotate", &name, "--overlap", "1h", "--ttl", "10d"], "").await;
    assert!(rotated.status.success(), "{rotated:#?}");
    let new = rotated.stdout.strip_suffix('\n').expect("stdout is one line");
    assert!(
        new.starts_with("tkdw_") && new.len() == 74 && new != secret,
        "stdout has only the new secret: {rotated:#?}"
    );
    assert!(
        !rotated.stderr.contains(new) && rotated.stderr.contains(&new[6..23]),
        "{rotated:#?}"
    );
    assert_eq!(
        run(&verify, rotated.stdout.as_str()).await.code(),
        0,
        "both tokens work during the overlap"
    );
    assert_eq!(run(&verify, created.stdout.as_str()).await.code(), 0);
    let shown = run(&["token", "get", &name], "").await.succeeded();
    assert!(shown.contains("REPLACED BY") && shown.contains(&new[6..23]), "{shown}");
    let revoked = run(&["token", "revoke", &name, "--reason", "it leaked"], "")
        .await
        .succeeded();
    assert!(revoked.contains("REVOKED"), "{revoked}");
    let verdict = run(&verify, created.stdout.as_str()).await;
    assert_eq!(verdict.code(), 3, "{verdict:#?}");
    assert!(
        verdict.stdout.contains("DENY") && verdict.stdout.contains("REVOKED"),
        "{verdict:#?}"
    );
    let shown = run(&["token", "get", &name], "").await.succeeded();
    assert!(shown.contains("it leaked"), "{shown}");
}

async fn a_workspace_is_created_suspended_and_deleted(installation: Installation) {
    let server = installation.start().await;
    let run = async |arguments: &[&str], input: &str| {
        tokend(&installation, &server, server.admin_key(), arguments, input).await
    };
    let created = run(&["organization", "create", "initech", "--display-name", "Initech"], "")
        .await
        .succeeded();
    assert!(created.contains("organizations/initech"), "{created}");
    let created = run(&["workspace", "create", "acme", "--organization", "initech"], "")
        .await
        .succeeded();
    assert!(created.contains("organizations/initech"), "{created}");
    for arguments in [&["organization", "get", "initech"][..], &["organization", "list"]] {
        let shown = run(arguments, "").await.succeeded();
        assert!(
            shown.contains("organizations/initech") && shown.contains("Initech"),
            "{shown}"
        );
    }
    let secret = server.token(token_in("workspaces/acme")).await.secret;
    let assert_state = async |arguments: &[&str], state: &str, verdict: &str| {
        let shown = run(arguments, "").await.succeeded();
        assert!(shown.contains(state), "{arguments:?}: {shown}");
        let verified = run(&["verify", "--resource", "workspaces/acme"], &secret).await;
        assert!(verified.stdout.contains(verdict), "{arguments:?}: {verified:#?}");
    };
    assert_state(&["workspace", "suspend", "acme"], "SUSPENDED", "WORKSPACE_SUSPENDED").await;
    assert_state(&["workspace", "resume", "workspaces/acme"], "ACTIVE", "ALLOW").await;
    assert_state(
        &["workspace", "suspend", "acme", "--no-wait"],
        "SUSPENDED",
        "WORKSPACE_SUSPENDED",
    )
    .await;
    assert_state(
        &["workspace", "delete", "acme", "--no-wait"],
        "DELETED",
        "WORKSPACE_DELETED",
    )
    .await;
    assert_state(&["workspace", "get", "acme"], "DELETED", "WORKSPACE_DELETED").await;
    run(&["workspace", "resume", "acme"], "").await.failed_with_a_sentence();
    run(&["workspace", "create", "acme"], "").await.failed_with_a_sentence();
}
