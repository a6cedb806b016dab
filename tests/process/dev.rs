//! `tokend dev`: the main job before your eyes.

use std::{fs, os::unix::fs::PermissionsExt};

use tokend_client::{CallerKey, Client, v1::Decision};
use tokend_tests::{Installation, Process, SERVE_ON_FREE_PORTS, eventually, http, on_sqlite, question, token_in};

on_sqlite!(once_it_shows_the_job_and_ends, it_serves_until_it_is_told_to_end, it_stays_on_loopback, it_keeps_nothing);

async fn once_it_shows_the_job_and_ends(installation: Installation) {
    let mut dev = installation.command(["dev", "--once"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let told = Process::spawn(dev, "").finish().await.succeeded();
    let [create, allow, revoke, deny] =
        ["create", "ALLOW", "revoke", "DENY"].map(|step| told.find(step).unwrap_or_else(|| panic!("{step} is missing:\n{told}")));
    assert!(create < allow && allow < revoke && revoke < deny, "{told}");
    assert!(told.contains("REVOKED") && told.contains(" ms"), "{told}");
}

async fn it_serves_until_it_is_told_to_end(installation: Installation) {
    let mut dev = installation.command(["dev", "--ready-file", "ready"]);
    dev.args(SERVE_ON_FREE_PORTS);
    let process = Process::spawn(dev, "");
    let file = installation.directory().join("ready");
    let ready: serde_json::Value =
        eventually("it serves", async || serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()).await;
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o077, 0, "it holds keys");
    let field = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("{name} is missing: {ready}"));
    assert_eq!(http::get(field("ops_address"), "/readyz").0, 200);
    assert!(ready.get("http_address").is_some(), "{ready}");

    let connect = async |key: &str| {
        let key = CallerKey::new(key).expect("it can be sent");
        Client::connect(field("grpc_address"), &key).await.expect("it answers")
    };
    let (admin, verifier) = (connect(field("admin_key")).await, connect(field("verifier_key")).await);
    let workspace = field("workspace");
    let token = admin.token_admin().create_token(token_in(workspace)).await.expect("a token").into_inner();
    let verdict = verifier.token_verify().verify(question(&token.secret, workspace, &["repository"])).await;
    assert_eq!(verdict.expect("a verdict").get_ref().decision(), Decision::Allow);
    for key in ["admin_key", "verifier_key"] {
        eventually("it prints what to paste", async || process.stdout().contains(field(key)).then_some(())).await;
    }
    process.interrupt();
    assert!(process.finish().await.status.success());
}

async fn it_stays_on_loopback(installation: Installation) {
    for address in ["--listen", "--ops-listen"] {
        let dev = installation.command(["dev", "--once", address, "0.0.0.0:0"]);
        let sentence = Process::spawn(dev, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains("loopback"), "{sentence}");
    }
}

async fn it_keeps_nothing(installation: Installation) {
    let scratch = installation.directory().join("scratch");
    fs::create_dir(&scratch).expect("it can be made");
    let mut dev = installation.command(["dev", "--once"]);
    dev.args(SERVE_ON_FREE_PORTS).env("TMPDIR", &scratch);
    Process::spawn(dev, "").finish().await.succeeded();
    for directory in [scratch.as_path(), installation.directory()] {
        let left: Vec<_> = fs::read_dir(directory).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| name == "clock" || name == "scratch"), "{left:?}");
    }
}
