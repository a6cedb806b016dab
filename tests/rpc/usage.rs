//! Usage: when and from which addresses a token was last used, and which of its scopes were never needed. The server
//! records it in the background, and Verify never waits for that.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokend_client::v1::{BatchVerifyRequest, CreateTokenRequest, Decision, Token, VerifyRequest};
use tokend_tests::{Installation, Issued, Server, eventually, on_both_databases, on_postgres, question, token_in};

on_both_databases!(
    a_use_is_recorded,
    the_five_latest_addresses_are_listed_once_each,
    a_denied_request_is_not_a_use,
    each_question_of_a_batch_is_a_use,
    unused_scopes_are_listed,
    verify_does_not_wait_for_writes,
);

mod side_by_side {
    use super::*;

    on_postgres!(the_uses_of_all_servers_are_combined);

    async fn the_uses_of_all_servers_are_combined(installation: Installation) {
        let one = installation.start().await;
        let other = installation.serve(one.admin_key()).await;
        let acme = one.workspace("acme").await;
        let scopes = ["repository:write", "webhook"].map(str::to_owned).to_vec();
        let token = one
            .token(CreateTokenRequest {
                scopes,
                ..token_in(&acme)
            })
            .await;
        let name = token.public.name.as_str();
        for address in 1..=6 {
            let (server, scope) = if address % 2 == 1 {
                (&one, "repository:write")
            } else {
                (&other, "webhook")
            };
            let question = from(&token, &format!("192.0.2.{address}"));
            allowed(
                server,
                VerifyRequest {
                    required_scopes: vec![scope.to_owned()],
                    ..question
                },
            )
            .await;
        }
        flush_usage(&installation, 1);
        let used = wait_for_usage(&one, name, |token| {
            token.last_used_addresses.len() == 5 && token.unused_scopes.is_empty()
        })
        .await;
        assert_eq!(
            used.last_used_addresses,
            ["192.0.2.6", "192.0.2.5", "192.0.2.4", "192.0.2.3", "192.0.2.2"]
        );
        assert_eq!(other.get_token_with_unused_scopes(name).await, used);
    }
}

const SITE: &str = "workspaces/acme/repositories/site";

/// Moves the clock ahead so that the servers write the recorded uses. Each call needs a later `minute` than the one
/// before.
pub(crate) fn flush_usage(installation: &Installation, minute: u64) {
    installation
        .clock()
        .set_ahead(Duration::from_secs(60) * u32::try_from(minute).expect("few minutes"));
}

pub(crate) async fn allowed(server: &Server, question: VerifyRequest) {
    assert_eq!(server.verdict(question).await.decision(), Decision::Allow);
}

pub(crate) fn from(token: &Issued<Token>, address: &str) -> VerifyRequest {
    VerifyRequest {
        client_address: address.to_owned(),
        ..question(&token.secret, SITE, &[])
    }
}

/// Returns the secret with another last character.
pub(crate) fn misspelt(secret: &str) -> String {
    let (rest, last) = secret.split_at(secret.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

pub(crate) fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// Waits until the usage of a token is as expected, and returns the token.
pub(crate) async fn wait_for_usage(server: &Server, name: &str, is_expected: impl Fn(&Token) -> bool) -> Token {
    eventually("the usage is recorded", async || {
        Some(server.get_token_with_unused_scopes(name).await).filter(&is_expected)
    })
    .await
}

pub(crate) fn is_used(token: &Token) -> bool {
    token.last_used_time.is_some()
}

async fn a_use_is_recorded(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let name = token.public.name.as_str();
    let unused = server.get_token_with_unused_scopes(name).await;
    assert!(!is_used(&unused) && unused.last_used_addresses.is_empty());
    assert_eq!(unused.unused_scopes, ["repository:write"], "no scope is used yet");

    allowed(
        &server,
        VerifyRequest {
            required_scopes: vec!["repository:write".to_owned()],
            ..from(&token, "192.0.2.7")
        },
    )
    .await;
    flush_usage(&installation, 1);
    let first = wait_for_usage(&server, name, is_used).await;
    assert_eq!(
        (first.last_used_addresses.as_slice(), first.unused_scopes.len()),
        (&["192.0.2.7".to_owned()][..], 0)
    );
    let after_creation = micros(first.last_used_time.as_ref()) - micros(first.create_time.as_ref());
    assert!(
        (1..60_000_000).contains(&after_creation),
        "the time of the use, not of the write: {after_creation}"
    );

    // It is a minute later now. A question may have no address.
    allowed(&server, question(&token.secret, SITE, &[])).await;
    flush_usage(&installation, 2);
    let later = wait_for_usage(&server, name, |token| token.last_used_time != first.last_used_time).await;
    let between = micros(later.last_used_time.as_ref()) - micros(first.last_used_time.as_ref());
    assert!((60_000_000..120_000_000).contains(&between), "{between}");
    assert_eq!(
        (later.last_used_addresses, later.unused_scopes.len()),
        (first.last_used_addresses, 0)
    );
}

async fn the_five_latest_addresses_are_listed_once_each(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let name = token.public.name.as_str();
    for address in [
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.5",
        "192.0.2.1",
        "192.0.2.6",
        "::ffff:192.0.2.4",
    ] {
        allowed(&server, from(&token, address)).await;
    }
    flush_usage(&installation, 1);
    // The server may write them in several parts.
    let used = wait_for_usage(&server, name, |token| {
        token
            .last_used_addresses
            .first()
            .is_some_and(|latest| latest == "192.0.2.4")
    })
    .await;
    let used = used.last_used_addresses;
    assert_eq!(used, ["192.0.2.4", "192.0.2.6", "192.0.2.1", "192.0.2.5", "192.0.2.3"]);

    // Later addresses come before those that are stored already.
    for address in ["192.0.2.5", "192.0.2.7"] {
        allowed(&server, from(&token, address)).await;
    }
    flush_usage(&installation, 2);
    let used = wait_for_usage(&server, name, |token| token.last_used_addresses[0] == "192.0.2.7")
        .await
        .last_used_addresses;
    assert_eq!(used, ["192.0.2.7", "192.0.2.5", "192.0.2.4", "192.0.2.6", "192.0.2.1"]);
}

async fn a_denied_request_is_not_a_use(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = CreateTokenRequest {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..token_in(&acme)
    };
    let (denied, revoked, used) = (
        server.token(bound).await,
        server.token(token_in(&acme)).await,
        server.token(token_in(&acme)).await,
    );
    server.revoke(&revoked.public.name).await;
    for question in [
        from(&denied, "198.51.100.1"),
        from(&revoked, "192.0.2.1"),
        VerifyRequest {
            required_scopes: vec!["webhook".to_owned()],
            ..from(&denied, "192.0.2.1")
        },
        VerifyRequest {
            resource: "workspaces/other".to_owned(),
            ..from(&denied, "192.0.2.1")
        },
        VerifyRequest {
            token: misspelt(&denied.secret),
            ..from(&denied, "192.0.2.1")
        },
    ] {
        assert_eq!(server.verdict(question).await.decision(), Decision::Deny);
    }
    allowed(&server, from(&used, "192.0.2.1")).await;
    flush_usage(&installation, 1);
    wait_for_usage(&server, &used.public.name, is_used).await;
    for token in [denied, revoked] {
        let token = server.get_token_with_unused_scopes(&token.public.name).await;
        assert!(!is_used(&token) && token.last_used_addresses.is_empty(), "{token:?}");
        assert_eq!(token.unused_scopes, ["repository:write"]);
    }
}

async fn each_question_of_a_batch_is_a_use(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (used, denied) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let other = VerifyRequest {
        resource: "workspaces/other".to_owned(),
        ..from(&denied, "192.0.2.1")
    };
    let requests = vec![other, from(&used, "192.0.2.1"), from(&used, "192.0.2.2")];
    server
        .admin()
        .token_verify()
        .batch_verify(BatchVerifyRequest { requests })
        .await
        .expect("BatchVerify succeeds");
    flush_usage(&installation, 1);
    let used = wait_for_usage(&server, &used.public.name, is_used).await;
    let mut addresses = used.last_used_addresses;
    addresses.sort();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
    assert!(!is_used(
        &server.get_token_with_unused_scopes(&denied.public.name).await
    ));
}

async fn unused_scopes_are_listed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let scopes = ["pullrequest:write", "webhook", "pipeline", "account"]
        .map(str::to_owned)
        .to_vec();
    let token = server
        .token(CreateTokenRequest {
            scopes,
            ..token_in(&acme)
        })
        .await;
    let name = token.public.name.as_str();
    let unused = |token: &Token| token.unused_scopes.join(" ");
    assert_eq!(
        unused(&server.get_token_with_unused_scopes(name).await),
        "pullrequest:write webhook account pipeline",
        "in the catalogue's order"
    );

    // repository:write would be enough for this request, so pullrequest:write is still unused.
    allowed(&server, question(&token.secret, SITE, &["repository:write", "webhook"])).await;
    flush_usage(&installation, 1);
    assert_eq!(
        unused(&wait_for_usage(&server, name, is_used).await),
        "pullrequest:write account pipeline"
    );

    allowed(&server, question(&token.secret, SITE, &["pullrequest:write"])).await;
    allowed(&server, question(&token.secret, SITE, &["account"])).await;
    flush_usage(&installation, 2);
    wait_for_usage(&server, name, |token| unused(token) == "pipeline").await;
}

/// Blocks every write of usage until it is released.
enum UsageLock {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl UsageLock {
    async fn acquire(installation: &Installation) -> Self {
        if let Some(database) = installation.postgres() {
            let mut connection = PgConnection::connect(database.url())
                .await
                .expect("the database is reachable");
            connection
                .execute("BEGIN; LOCK TABLE token_usage IN ACCESS EXCLUSIVE MODE")
                .await
                .expect("the lock is acquired");
            Self::Postgres(connection)
        } else {
            let url = format!("sqlite://{}", installation.data_dir().join("tokend.db").display());
            let mut connection = SqliteConnection::connect(&url).await.expect("the database opens");
            connection
                .execute("BEGIN IMMEDIATE")
                .await
                .expect("the lock is acquired");
            Self::Sqlite(connection)
        }
    }

    async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.expect("the connection closes"),
            Self::Postgres(connection) => connection.close().await.expect("the connection closes"),
        }
    }
}

async fn verify_does_not_wait_for_writes(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let lock = UsageLock::acquire(&installation).await;
    allowed(&server, from(&token, "192.0.2.1")).await;
    flush_usage(&installation, 1);
    let failures = || {
        server
            .process()
            .stderr()
            .matches("uses of tokens can't be recorded")
            .count()
    };
    // Verify keeps answering, from before the write begins until after it has failed.
    eventually("the write has failed", async || {
        // Half of the time after which the write gives up.
        tokio::time::timeout(Duration::from_secs(5), allowed(&server, from(&token, "192.0.2.2")))
            .await
            .expect("Verify answers before the write has failed");
        (failures() > 0).then_some(())
    })
    .await;
    // No use is lost meanwhile, and the failure is logged once.
    flush_usage(&installation, 2);
    allowed(&server, from(&token, "192.0.2.3")).await;
    lock.release().await;
    flush_usage(&installation, 3);
    let used = wait_for_usage(&server, &token.public.name, |token| {
        token.last_used_addresses.len() == 3
    })
    .await;
    assert_eq!(used.last_used_addresses, ["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
    eventually("the log reports the recovery", async || {
        server
            .process()
            .stderr()
            .contains("uses of tokens are recorded again")
            .then_some(())
    })
    .await;
    assert_eq!(failures(), 1);
}
