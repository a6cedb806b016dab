//! `tokend dev` demonstrates the life of a token, and serves a temporary installation.

use std::{fs, os::unix::fs::PermissionsExt};

use tokend_client::{CallerKey, Client, v1::Decision};
use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, eventually, http, on_sqlite, question, token_in};

on_sqlite!(
    with_once_dev_shows_a_token_life_and_exits,
    dev_serves_until_it_is_interrupted,
    dev_listens_on_loopback_only,
    dev_leaves_no_files
);

async fn with_once_dev_shows_a_token_life_and_exits(installation: Installation) {
    let mut dev = installation.command(["dev", "--once"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let output = Process::spawn(dev, "").finish().await.succeeded();
    let [create, allow, revoke, deny] = ["create", "ALLOW", "revoke", "DENY"].map(|step| {
        output
            .find(step)
            .unwrap_or_else(|| panic!("{step} is missing:\n{output}"))
    });
    assert!(create < allow && allow < revoke && revoke < deny, "{output}");
    assert!(output.contains("REVOKED") && output.contains(" ms"), "{output}");
}

async fn dev_serves_until_it_is_interrupted(installation: Installation) {
    let mut dev = installation.command(["dev", "--ready-file", "ready"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let process = Process::spawn(dev, "");
    let file = installation.directory().join("ready");
    let ready: serde_json::Value = eventually("the ready file is written", async || {
        serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()
    })
    .await;
    assert_eq!(
        fs::metadata(&file).expect("the file exists").permissions().mode() & 0o077,
        0,
        "the ready file has keys"
    );
    let field = |name: &str| {
        ready[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name} is missing: {ready}"))
    };
    assert_eq!(http::get(field("ops_address"), "/readyz").0, 200);
    assert!(ready.get("http_address").is_some(), "{ready}");

    let connect = async |key: &str| {
        let key = CallerKey::new(key).expect("the key is valid");
        Client::connect(field("grpc_address"), &key)
            .await
            .expect("the connection opens")
    };
    let (admin, verifier) = (connect(field("admin_key")).await, connect(field("verifier_key")).await);
    let workspace = field("workspace");
    let token = admin
        .token_admin()
        .create_token(token_in(workspace))
        .await
        .expect("the token is created")
        .into_inner();
    let verdict = verifier
        .token_verify()
        .verify(question(&token.secret, workspace, &["repository"]))
        .await;
    assert_eq!(verdict.expect("Verify succeeds").get_ref().decision(), Decision::Allow);
    for key in ["admin_key", "verifier_key"] {
        eventually("dev prints the commands to paste", async || {
            process.stdout().contains(field(key)).then_some(())
        })
        .await;
    }
    process.interrupt();
    assert!(process.finish().await.status.success());
}

async fn dev_listens_on_loopback_only(installation: Installation) {
    for address in ["--listen", "--ops-listen"] {
        let dev = installation.command(["dev", "--once", address, "0.0.0.0:0"]);
        let sentence = Process::spawn(dev, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains("loopback"), "{sentence}");
    }
}

async fn dev_leaves_no_files(installation: Installation) {
    let scratch = installation.directory().join("scratch");
    fs::create_dir(&scratch).expect("the directory is created");
    let mut dev = installation.command(["dev", "--once"]);
    dev.args(SERVE_ON_FREE_PORTS).env("TMPDIR", &scratch);
    Process::spawn(dev, "").finish().await.succeeded();
    for directory in [scratch.as_path(), installation.directory()] {
        let left: Vec<_> = fs::read_dir(directory)
            .expect("the directory is readable")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.iter().all(|name| name == "clock" || name == "scratch"), "{left:?}");
    }
}
