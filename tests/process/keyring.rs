//! `tokend keyring`: a key is added, learned by every server, activated, and one day retired.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokend_client::v1::{
    CreateCallerKeyRequest, Decision, DenyReason, ErrorReason, ListTokensRequest, RevokeCallerKeyRequest, RevokeTokenRequest,
};
use tokend_tests::{Finished, Installation, Refused, Server, eventually, http, on_both_databases, on_postgres, question, token_in};
use tonic::Code;

on_both_databases!(
    a_key_from_its_adding_to_its_end,
    a_key_that_servers_may_not_have_is_not_activated,
    of_two_at_once_each_adds_a_key,
    what_was_interrupted_goes_on,
    a_file_of_version_1_is_read_and_brought_up_to_date,
    the_file_keeps_its_mode_and_is_replaced_whole,
    what_can_not_be_done_is_told,
);

mod replicas {
    use super::*;

    on_postgres!(a_server_without_the_active_key_is_not_ready, a_server_without_an_added_key_restarts);

    async fn a_server_without_an_added_key_restarts(installation: Installation) {
        let server = installation.start().await;
        let copy = installation.directory().join("keyring-of-the-replica");
        fs::copy(file(&installation), &copy).expect("it can be copied");
        let before = fs::read(&copy).expect("it can be read");
        let path = copy.to_string_lossy().into_owned();
        let acme = server.workspace("acme").await;
        keyring(&installation, &["add"]).await.succeeded();
        // It is restarted before the new file has come to its machine.
        let replica = installation.serve_with(server.admin_key(), ["--keyring", &path]).await;
        let token = replica.token(token_in(&acme)).await.secret;
        assert!(token.starts_with("tkdw_0"));
        assert_eq!(replica.verdict(question(&token, &acme, &[])).await.decision(), Decision::Allow);
        assert_eq!(http::get(replica.ops_address(), "/readyz").0, 200);
        let told = || replica.process().stderr().contains("does not have yet");
        eventually("the log tells", async || told().then_some(())).await;
        // By the time that the key signs, the file has come.
        fs::copy(file(&installation), &copy).expect("it can be copied");
        eventually("it has the key", async || replica.process().stderr().contains("every key again").then_some(())).await;
        keyring(&installation, &["activate", "1", "--force"]).await.succeeded();
        let new = signs_with(&replica, &acme, "1").await;
        assert_eq!(server.verdict(question(&new, &acme, &[])).await.decision(), Decision::Allow);
        // A key that has signed is needed, even if it does so no longer.
        keyring(&installation, &["activate", "0", "--force"]).await.succeeded();
        fs::write(&copy, before).expect("it can be written");
        let third = installation.command_on_data(["serve", "--keyring", &path]);
        let sentence = tokend_tests::Process::spawn(third, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains("lacks key 1"), "{sentence}");
    }

    async fn a_server_without_the_active_key_is_not_ready(installation: Installation) {
        let server = installation.start().await;
        // Another machine has a file of its own.
        let copy = installation.directory().join("keyring-of-the-replica");
        fs::copy(file(&installation), &copy).expect("it can be copied");
        let path = copy.to_string_lossy().into_owned();
        let replica = installation.serve_with(server.admin_key(), ["--keyring", &path]).await;
        let acme = server.workspace("acme").await;
        let old = server.token(token_in(&acme)).await;

        keyring(&installation, &["add"]).await.succeeded();
        keyring(&installation, &["activate", "1", "--force"]).await.succeeded();
        let new = signs_with(&server, &acme, "1").await;
        let is_ready = || http::get(replica.ops_address(), "/readyz").0 == 200;
        eventually("it is not ready", async || (!is_ready()).then_some(())).await;
        // It knows nothing of the new token, which is no reason to deny it.
        let verify = async |secret: &str| replica.admin().token_verify().verify(question(secret, &acme, &[])).await;
        let failure = verify(&new).await.refused(Code::Unavailable, ErrorReason::KeyNotAtHand);
        assert!(failure.retry_after.is_some(), "{failure:?}");
        let revoke = RevokeTokenRequest { name: old.public.name.clone(), ..Default::default() };
        let failure =
            replica.admin().token_admin().revoke_token(revoke).await.refused(Code::Unavailable, ErrorReason::KeyNotAtHand);
        assert!(failure.retry_after.is_some(), "{failure:?}");
        assert_eq!(
            verify(&old.secret).await.expect("its key is at hand").into_inner().decision(),
            Decision::Allow,
            "nothing was changed"
        );
        assert!(replica.process().stderr().contains("lacks key 1"), "the log tells");
        let third = installation.command_on_data(["serve", "--keyring", &path]);
        let sentence = tokend_tests::Process::spawn(third, "").finish().await.failed_with_a_sentence();
        assert!(sentence.contains("lacks key 1"), "it would not start: {sentence}");

        fs::copy(file(&installation), &copy).expect("it can be copied");
        eventually("it has learned the key", async || is_ready().then_some(())).await;
        assert_eq!(verify(&new).await.expect("there is a verdict").into_inner().decision(), Decision::Allow);
        assert!(replica.token(token_in(&acme)).await.secret.starts_with("tkdw_1"));
    }
}

/// Longer than a key must be known before it signs.
const LEARNED: Duration = Duration::from_secs(200);

async fn keyring(installation: &Installation, arguments: &[&str]) -> Finished {
    installation.run_on_data(["keyring"].iter().chain(arguments)).await
}

async fn keys(installation: &Installation) -> Vec<serde_json::Value> {
    let told = keyring(installation, &["status", "-o", "json"]).await.succeeded();
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

async fn states(installation: &Installation) -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    keys(installation).await.iter().map(|key| (text(&key["kid"]), text(&key["state"]), text(&key["file"]))).collect()
}

fn state(kid: &str, state: &str, file: &str) -> (String, String, String) {
    (kid.to_owned(), state.to_owned(), file.to_owned())
}

fn file(installation: &Installation) -> PathBuf {
    installation.data_dir().join("keyring")
}

/// Waits until the server signs with `kid`, and leaves one token that is. Before it has learned the key it refuses to make tokens.
async fn signs_with(server: &Server, workspace: &str, kid: &str) -> String {
    eventually("the server signs with the new key", async || {
        let made = server.admin().token_admin().create_token(token_in(workspace)).await.ok()?.into_inner();
        if made.secret.starts_with(&format!("tkdw_{kid}")) {
            return Some(made.secret);
        }
        server.revoke(&made.token.expect("it is told").name).await;
        None
    })
    .await
}

async fn a_key_from_its_adding_to_its_end(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (old, ended) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    assert!(old.secret.starts_with("tkdw_0"));

    assert_eq!(keyring(&installation, &["add"]).await.succeeded(), "1\n");
    assert_eq!(states(&installation).await, [state("0", "ACTIVE", "OK"), state("1", "VERIFIES", "OK")]);
    installation.clock().set_ahead(LEARNED);
    keyring(&installation, &["activate", "1"]).await.succeeded();
    assert_eq!(states(&installation).await, [state("0", "VERIFIES", "OK"), state("1", "ACTIVE", "OK")]);
    let new = signs_with(&server, &acme, "1").await;
    for secret in [&old.secret, &new] {
        assert_eq!(server.verdict(question(secret, &acme, &[])).await.decision(), Decision::Allow, "both keys verify");
    }

    // Three credentials hold on to the old key: two tokens and the administrator's own key.
    let sentence = keyring(&installation, &["retire", "0"]).await.failed_with_a_sentence();
    assert!(
        sentence.contains("2 live tokens") && sentence.contains("1 live caller keys") && sentence.contains("until 20"),
        "{sentence}"
    );
    for token in [&old, &ended] {
        server.revoke(&token.public.name).await;
    }
    let admins = server.admin().caller_admin();
    let parent = "callers/admin".to_owned();
    let made =
        admins.clone().create_caller_key(CreateCallerKeyRequest { parent, ttl: None }).await.expect("it is made").into_inner();
    let first = format!("callers/admin/keys/{}", &server.admin_key()[6..23]);
    let admin = server.client(&made.secret).await;
    let revoke = RevokeCallerKeyRequest { name: first, no_wait: false };
    admin.caller_admin().revoke_caller_key(revoke).await.expect("it is revoked");
    keyring(&installation, &["retire", "0"]).await.succeeded();
    assert_eq!(states(&installation).await, [state("0", "RETIRED", "OK"), state("1", "ACTIVE", "OK")]);

    let verdict = async |server: &Server, secret: &str| {
        let client = server.client(&made.secret).await;
        client.token_verify().verify(question(secret, &acme, &[])).await.expect("there is a verdict").into_inner()
    };
    eventually("a token of the retired key is nobody's", async || {
        (verdict(&server, &old.secret).await.deny_reason() == DenyReason::Unrecognized).then_some(())
    })
    .await;
    assert_eq!(verdict(&server, &new).await.decision(), Decision::Allow);
    // What the old key had sealed is sealed anew, ended tokens too.
    let list = ListTokensRequest { parent: acme.clone(), ..Default::default() };
    let listed = admin.token_admin().list_tokens(list).await.expect("it is listed").into_inner().tokens;
    assert!(listed.iter().any(|token| token.name == old.public.name), "{listed:?}");
    let told = "SELECT type || ' ' || detail FROM audit_events WHERE chain = '-' AND type LIKE 'ring_key.%' ORDER BY sequence";
    assert_eq!(
        installation.texts(told).await,
        ["ring_key.added key 1", "ring_key.activated key 1", "ring_key.retired key 0"],
        "all on record"
    );
    assert!(server.stop().await.status.success());
    let server = installation.serve(&made.secret).await;
    assert_eq!(verdict(&server, &new).await.decision(), Decision::Allow);
    server.token(token_in(&acme)).await;
}

async fn a_key_that_servers_may_not_have_is_not_activated(installation: Installation) {
    installation.init().await;
    keyring(&installation, &["add"]).await.succeeded();
    let sentence = keyring(&installation, &["activate", "1"]).await.failed_with_a_sentence();
    assert!(sentence.contains("--force") && sentence.contains("180 s"), "{sentence}");
    installation.clock().set_ahead(Duration::from_secs(170));
    keyring(&installation, &["activate", "1"]).await.failed_with_a_sentence();
    assert_eq!(states(&installation).await[1], state("1", "VERIFIES", "OK"));
    installation.clock().set_ahead(LEARNED);
    keyring(&installation, &["activate", "1"]).await.succeeded();
    // One that signs already is as it should be.
    keyring(&installation, &["activate", "1"]).await.succeeded();

    assert_eq!(keyring(&installation, &["add"]).await.succeeded(), "2\n");
    keyring(&installation, &["activate", "2", "--force"]).await.succeeded();
    let states = states(&installation).await;
    assert_eq!(states, [state("0", "VERIFIES", "OK"), state("1", "VERIFIES", "OK"), state("2", "ACTIVE", "OK")]);
}

async fn of_two_at_once_each_adds_a_key(installation: Installation) {
    let key = installation.init().await;
    let (one, other) = tokio::join!(keyring(&installation, &["add"]), keyring(&installation, &["add"]));
    let mut added = [one.succeeded(), other.succeeded()];
    added.sort_unstable();
    assert_eq!(added, ["1\n", "2\n"]);
    assert!(states(&installation).await.iter().all(|(_, _, file)| file == "OK"));
    let text = fs::read_to_string(file(&installation)).expect("it can be read");
    assert_eq!(text.matches("[[keys]]").count(), 3, "no root was lost");
    installation.serve(&key).await;
}

async fn what_was_interrupted_goes_on(installation: Installation) {
    let key = installation.init().await;
    let before = fs::read_to_string(file(&installation)).expect("it can be read");
    // An add that wrote the file and died before it told the database.
    keyring(&installation, &["add"]).await.succeeded();
    assert_eq!(installation.sql("DELETE FROM keyring_keys WHERE kid = '1'").await, 1);
    let [_, (kid, state_of_it, told)] = &states(&installation).await[..] else { panic!("two keys") };
    assert!(kid == "1" && state_of_it == "-" && told.contains("add"), "{told}");
    let server = installation.serve(&key).await;
    server.workspace("acme").await;
    let with_root = fs::read_to_string(file(&installation)).expect("it can be read");
    let finished = keyring(&installation, &["add"]).await;
    assert!(finished.stderr.contains("interrupted"), "{finished:#?}");
    assert_eq!(finished.succeeded(), "1\n", "the same key");
    assert_eq!(fs::read_to_string(file(&installation)).expect("it can be read"), with_root);
    assert_eq!(states(&installation).await[1], state("1", "VERIFIES", "OK"));

    // A retire that told the database and died before it marked the file.
    keyring(&installation, &["retire", "1"]).await.succeeded();
    let marked = fs::read_to_string(file(&installation)).expect("it can be read");
    fs::write(file(&installation), &with_root).expect("it can be written");
    let (_, retired, told) = states(&installation).await.remove(1);
    assert!(retired == "RETIRED" && told.contains("retire"), "{told}");
    keyring(&installation, &["retire", "1"]).await.succeeded();
    assert_eq!(fs::read_to_string(file(&installation)).expect("it can be read"), marked);
    // The file alone keeps it retired, whatever is written to the database.
    installation.sql("UPDATE keyring_keys SET state = 'VERIFIES' WHERE kid = '1'").await;
    server.stop().await;
    fs::write(file(&installation), &before).expect("it can be written");
    let sentence = installation.run_on_data(["serve"]).await.failed_with_a_sentence();
    assert!(sentence.contains("lacks key 1"), "an older copy is told: {sentence}");
}

async fn a_file_of_version_1_is_read_and_brought_up_to_date(installation: Installation) {
    let key = installation.init().await;
    let text = fs::read_to_string(file(&installation)).expect("it can be read");
    let old = text.replace("version = 2", "version = 1").replace("retired = false", "active = true");
    assert_ne!(old, text);
    fs::write(file(&installation), &old).expect("it can be written");
    let server = installation.serve(&key).await;
    server.workspace("acme").await;
    keyring(&installation, &["add"]).await.succeeded();
    let new = fs::read_to_string(file(&installation)).expect("it can be read");
    assert!(new.starts_with(&text), "the same key in the new form: the roots are not compared here but by serving");
    keyring(&installation, &["activate", "1", "--force"]).await.succeeded();
    signs_with(&server, "workspaces/acme", "1").await;
}

async fn the_file_keeps_its_mode_and_is_replaced_whole(installation: Installation) {
    installation.init().await;
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    keyring(&installation, &["add"]).await.succeeded();
    assert_eq!(mode(&file(&installation)), 0o600);
    // A group that may read it still may.
    fs::set_permissions(file(&installation), fs::Permissions::from_mode(0o640)).expect("it is ours");
    // Where the file is a link, what it points to is replaced.
    let elsewhere = installation.directory().join("secret");
    fs::rename(file(&installation), &elsewhere).expect("it can be moved");
    std::os::unix::fs::symlink(&elsewhere, file(&installation)).expect("it can be made");
    keyring(&installation, &["add"]).await.succeeded();
    assert_eq!(mode(&elsewhere), 0o640);
    assert!(file(&installation).is_symlink());
    for directory in [installation.data_dir(), installation.directory().to_owned()] {
        let entries = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("it can be read").file_name());
        let drafts: Vec<_> = entries.filter(|name| name.to_string_lossy().contains(".new")).collect();
        assert!(drafts.is_empty(), "{drafts:?}");
    }
}

async fn what_can_not_be_done_is_told(installation: Installation) {
    let sentence = keyring(&installation, &["add"]).await.failed_with_a_sentence();
    assert!(sentence.contains("tokend init"), "{sentence}");
    installation.init().await;
    for (arguments, told) in [
        (&["retire", "0"][..], "is the active one"),
        (&["retire", "Z"], "knows no key Z"),
        (&["activate", "Z", "--force"], "knows no key Z"),
    ] {
        let sentence = keyring(&installation, arguments).await.failed_with_a_sentence();
        assert!(sentence.contains(told), "{sentence}");
    }
    keyring(&installation, &["add"]).await.succeeded();
    keyring(&installation, &["retire", "1"]).await.succeeded();
    let sentence = keyring(&installation, &["activate", "1", "--force"]).await.failed_with_a_sentence();
    assert!(sentence.contains("for good"), "{sentence}");
    assert_eq!(keyring(&installation, &["add"]).await.succeeded(), "2\n", "no id is used twice");
    assert_eq!(keyring(&installation, &["activate", "nonsense"]).await.code(), 2);
    let table = keyring(&installation, &["status"]).await.succeeded();
    assert!(table.starts_with("KEY") && table.contains("RETIRED") && table.contains("ACTIVE"), "{table}");
}
