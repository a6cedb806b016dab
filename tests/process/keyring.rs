//! `tokend keyring`: an operator adds a key, every server loads it, and the operator activates and later retires it.

use std::{fs, path::PathBuf, time::Duration};

use tokend_client::v1::{
    CreateCallerKeyRequest, Decision, DenyReason, ErrorReason, ListTokensRequest, RevokeCallerKeyRequest,
    RevokeTokenRequest,
};
use tokend_tests::{
    Finished, Installation, Refused, Server, eventually, http, on_both_databases, on_postgres, question, token_in,
};
use tonic::Code;

on_both_databases!(
    a_key_is_added_activated_and_retired,
    a_key_that_servers_may_lack_is_not_activated,
    two_concurrent_adds_each_add_a_key,
    invalid_key_operations_are_refused,
);

mod replicas {
    use super::*;

    on_postgres!(
        a_server_without_the_active_key_is_not_ready,
        a_server_without_an_inactive_key_starts
    );

    async fn a_server_without_an_inactive_key_starts(installation: Installation) {
        let server = installation.start().await;
        let copy = installation.directory().join("keyring-of-the-replica");
        fs::copy(file(&installation), &copy).expect("the file is copied");
        let before = fs::read(&copy).expect("the file is readable");
        let path = copy.to_string_lossy().into_owned();
        let acme = server.workspace("acme").await;
        keyring(&installation, &["add"]).await.succeeded();
        // The replica starts before it has the new key ring file.
        let replica = installation.serve_with(server.admin_key(), ["--keyring", &path]).await;
        let token = replica.token(token_in(&acme)).await.secret;
        assert!(token.starts_with("tkdw_0"));
        assert_eq!(
            replica.verdict(question(&token, &acme, &[])).await.decision(),
            Decision::Allow
        );
        assert_eq!(http::get(replica.ops_address(), "/readyz").0, 200);
        let warned = || replica.process().stderr().contains("does not have yet");
        eventually("the server logs the missing key", async || warned().then_some(())).await;
        // The replica receives the file before the key is activated.
        fs::copy(file(&installation), &copy).expect("the file is copied");
        eventually("the server has every key", async || {
            replica.process().stderr().contains("every key again").then_some(())
        })
        .await;
        keyring(&installation, &["activate", "1", "--force"]).await.succeeded();
        let new = signs_with(&replica, &acme, "1").await;
        assert_eq!(
            server.verdict(question(&new, &acme, &[])).await.decision(),
            Decision::Allow
        );
        // A server needs every key that has signed, even an inactive one.
        keyring(&installation, &["activate", "0", "--force"]).await.succeeded();
        fs::write(&copy, before).expect("the file is written");
        let sentence = installation.refused_to_serve(["--keyring", &path]).await;
        assert!(sentence.contains("lacks key 1"), "{sentence}");
    }

    async fn a_server_without_the_active_key_is_not_ready(installation: Installation) {
        let server = installation.start().await;
        // A replica on another machine has its own key ring file.
        let copy = installation.directory().join("keyring-of-the-replica");
        fs::copy(file(&installation), &copy).expect("the file is copied");
        let path = copy.to_string_lossy().into_owned();
        let replica = installation.serve_with(server.admin_key(), ["--keyring", &path]).await;
        let acme = server.workspace("acme").await;
        let old = server.token(token_in(&acme)).await;

        keyring(&installation, &["add"]).await.succeeded();
        keyring(&installation, &["activate", "1", "--force"]).await.succeeded();
        let new = signs_with(&server, &acme, "1").await;
        let is_ready = || http::get(replica.ops_address(), "/readyz").0 == 200;
        eventually("the replica is not ready", async || (!is_ready()).then_some(())).await;
        // The replica cannot check the new token, so it returns UNAVAILABLE and not DENY.
        let verify = async |secret: &str| {
            replica
                .admin()
                .token_verify()
                .verify(question(secret, &acme, &[]))
                .await
        };
        let failure = verify(&new).await.refused(Code::Unavailable, ErrorReason::KeyNotAtHand);
        assert!(failure.retry_after.is_some(), "{failure:?}");
        let revoke = RevokeTokenRequest {
            name: old.public.name.clone(),
            ..Default::default()
        };
        let failure = replica
            .admin()
            .token_admin()
            .revoke_token(revoke)
            .await
            .refused(Code::Unavailable, ErrorReason::KeyNotAtHand);
        assert!(failure.retry_after.is_some(), "{failure:?}");
        assert_eq!(
            server.verdict(question(&old.secret, &acme, &[])).await.decision(),
            Decision::Allow,
            "the token is not revoked"
        );
        assert!(
            replica.process().stderr().contains("lacks key 1"),
            "the log names the missing key"
        );
        let sentence = installation.refused_to_serve(["--keyring", &path]).await;
        assert!(
            sentence.contains("lacks key 1"),
            "a server without the active key does not start: {sentence}"
        );

        fs::copy(file(&installation), &copy).expect("the file is copied");
        eventually("the replica is ready again", async || is_ready().then_some(())).await;
        assert_eq!(
            verify(&new).await.expect("Verify succeeds").into_inner().decision(),
            Decision::Allow
        );
        assert!(replica.token(token_in(&acme)).await.secret.starts_with("tkdw_1"));
    }
}

/// Longer than the wait between adding and activating a key.
const PAST_ACTIVATION_WAIT: Duration = Duration::from_secs(200);

pub(crate) async fn keyring(installation: &Installation, arguments: &[&str]) -> Finished {
    installation.run_on_data(["keyring"].iter().chain(arguments)).await
}

pub(crate) async fn keys(installation: &Installation) -> Vec<serde_json::Value> {
    let output = keyring(installation, &["status", "-o", "json"]).await.succeeded();
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

pub(crate) async fn states(installation: &Installation) -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    keys(installation)
        .await
        .iter()
        .map(|key| (text(&key["kid"]), text(&key["state"]), text(&key["file"])))
        .collect()
}

pub(crate) fn state(kid: &str, state: &str, file: &str) -> (String, String, String) {
    (kid.to_owned(), state.to_owned(), file.to_owned())
}

pub(crate) fn file(installation: &Installation) -> PathBuf {
    installation.data_dir().join("keyring")
}

/// Waits until the server signs with key `kid`, and returns the secret of a token that this key signed. The server
/// creates no tokens before it has loaded the key.
pub(crate) async fn signs_with(server: &Server, workspace: &str, kid: &str) -> String {
    eventually("the server signs with the new key", async || {
        let created = server
            .admin()
            .token_admin()
            .create_token(token_in(workspace))
            .await
            .ok()?
            .into_inner();
        if created.secret.starts_with(&format!("tkdw_{kid}")) {
            return Some(created.secret);
        }
        server
            .revoke(&created.token.expect("the response has the token").name)
            .await;
        None
    })
    .await
}

async fn a_key_is_added_activated_and_retired(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (old, other) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    assert!(old.secret.starts_with("tkdw_0"));

    assert_eq!(keyring(&installation, &["add"]).await.succeeded(), "1\n");
    assert_eq!(
        states(&installation).await,
        [state("0", "ACTIVE", "OK"), state("1", "VERIFIES", "OK")]
    );
    installation.clock().set_ahead(PAST_ACTIVATION_WAIT);
    keyring(&installation, &["activate", "1"]).await.succeeded();
    assert_eq!(
        states(&installation).await,
        [state("0", "VERIFIES", "OK"), state("1", "ACTIVE", "OK")]
    );
    let new = signs_with(&server, &acme, "1").await;
    for secret in [&old.secret, &new] {
        assert_eq!(
            server.verdict(question(secret, &acme, &[])).await.decision(),
            Decision::Allow,
            "both keys verify"
        );
    }

    // Two tokens and the administrator's caller key still depend on the old key.
    let sentence = keyring(&installation, &["retire", "0"]).await.failed_with_a_sentence();
    assert!(
        sentence.contains("2 live tokens") && sentence.contains("1 live caller keys") && sentence.contains("until 20"),
        "{sentence}"
    );
    for token in [&old, &other] {
        server.revoke(&token.public.name).await;
    }
    let admins = server.admin().caller_admin();
    let parent = "callers/admin".to_owned();
    let created = admins
        .clone()
        .create_caller_key(CreateCallerKeyRequest { parent, ttl: None })
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    let first = format!("callers/admin/keys/{}", &server.admin_key()[6..23]);
    let admin = server.client(&created.secret).await;
    let revoke = RevokeCallerKeyRequest {
        name: first,
        no_wait: false,
    };
    admin
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    keyring(&installation, &["retire", "0"]).await.succeeded();
    assert_eq!(
        states(&installation).await,
        [state("0", "RETIRED", "OK"), state("1", "ACTIVE", "OK")]
    );

    let verdict = async |server: &Server, secret: &str| {
        let client = server.client(&created.secret).await;
        client
            .token_verify()
            .verify(question(secret, &acme, &[]))
            .await
            .expect("Verify succeeds")
            .into_inner()
    };
    eventually("a token of the retired key is not recognized", async || {
        (verdict(&server, &old.secret).await.deny_reason() == DenyReason::Unrecognized).then_some(())
    })
    .await;
    assert_eq!(verdict(&server, &new).await.decision(), Decision::Allow);
    // Retirement re-signs the rows of the old key, those of revoked tokens too.
    let list = ListTokensRequest {
        parent: acme.clone(),
        ..Default::default()
    };
    let listed = admin
        .token_admin()
        .list_tokens(list)
        .await
        .expect("ListTokens succeeds")
        .into_inner()
        .tokens;
    assert!(listed.iter().any(|token| token.name == old.public.name), "{listed:?}");
    let query =
        "SELECT type || ' ' || detail FROM audit_events WHERE chain = '-' AND type LIKE 'ring_key.%' ORDER BY sequence";
    assert_eq!(
        installation.texts(query).await,
        [
            "ring_key.added key 1",
            "ring_key.activated key 1",
            "ring_key.retired key 0"
        ],
        "the audit log records every step"
    );
    assert!(server.stop().await.status.success());
    let server = installation.serve(&created.secret).await;
    assert_eq!(verdict(&server, &new).await.decision(), Decision::Allow);
    server.token(token_in(&acme)).await;
}

async fn a_key_that_servers_may_lack_is_not_activated(installation: Installation) {
    installation.init().await;
    keyring(&installation, &["add"]).await.succeeded();
    let sentence = keyring(&installation, &["activate", "1"])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("--force") && sentence.contains("180 s"), "{sentence}");
    installation.clock().set_ahead(Duration::from_secs(170));
    keyring(&installation, &["activate", "1"])
        .await
        .failed_with_a_sentence();
    assert_eq!(states(&installation).await[1], state("1", "VERIFIES", "OK"));
    installation.clock().set_ahead(PAST_ACTIVATION_WAIT);
    keyring(&installation, &["activate", "1"]).await.succeeded();
    // Activating the active key succeeds.
    keyring(&installation, &["activate", "1"]).await.succeeded();

    assert_eq!(keyring(&installation, &["add"]).await.succeeded(), "2\n");
    keyring(&installation, &["activate", "2", "--force"]).await.succeeded();
    let states = states(&installation).await;
    assert_eq!(
        states,
        [
            state("0", "VERIFIES", "OK"),
            state("1", "VERIFIES", "OK"),
            state("2", "ACTIVE", "OK")
        ]
    );
}

async fn two_concurrent_adds_each_add_a_key(installation: Installation) {
    let key = installation.init().await;
    let (one, other) = tokio::join!(keyring(&installation, &["add"]), keyring(&installation, &["add"]));
    let mut added = [one.succeeded(), other.succeeded()];
    added.sort_unstable();
    assert_eq!(added, ["1\n", "2\n"]);
    assert!(states(&installation).await.iter().all(|(_, _, file)| file == "OK"));
    let text = fs::read_to_string(file(&installation)).expect("the file is readable");
    assert_eq!(text.matches("[[keys]]").count(), 3, "the file has every key");
    installation.serve(&key).await;
}

async fn invalid_key_operations_are_refused(installation: Installation) {
    let sentence = keyring(&installation, &["add"]).await.failed_with_a_sentence();
    assert!(sentence.contains("tokend init"), "{sentence}");
    installation.init().await;
    for (arguments, expected) in [
        (&["retire", "0"][..], "is the active one"),
        (&["retire", "Z"], "knows no key Z"),
        (&["activate", "Z", "--force"], "knows no key Z"),
    ] {
        let sentence = keyring(&installation, arguments).await.failed_with_a_sentence();
        assert!(sentence.contains(expected), "{sentence}");
    }
    keyring(&installation, &["add"]).await.succeeded();
    keyring(&installation, &["retire", "1"]).await.succeeded();
    let sentence = keyring(&installation, &["activate", "1", "--force"])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("for good"), "{sentence}");
    assert_eq!(
        keyring(&installation, &["add"]).await.succeeded(),
        "2\n",
        "key IDs are not reused"
    );
    assert_eq!(keyring(&installation, &["activate", "nonsense"]).await.code(), 2);
    let table = keyring(&installation, &["status"]).await.succeeded();
    assert!(
        table.starts_with("KEY") && table.contains("RETIRED") && table.contains("ACTIVE"),
        "{table}"
    );
}
