//! One server at a time uses a SQLite file. While another program locks the file, calls fail with a retry delay.

use std::{
    fs::{self, File},
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokend_client::v1::{Decision, ErrorReason, RevokeTokenRequest};
use tokend_tests::{Installation, Refused, Server, eventually, on_sqlite, question, token_in};
use tonic::Code;

on_sqlite!(
    calls_fail_with_a_retry_delay_while_the_file_is_locked,
    a_second_server_is_refused,
    serve_and_restore_are_refused_while_the_lock_is_held,
    a_restore_warns_about_a_leftover_write_ahead_log,
);

/// Opens a connection, as another program, that locks the file.
async fn lock_file(installation: &Installation) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(installation.data_dir().join("tokend.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the file opens");
    eventually("the lock is free", async || {
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.ok()
    })
    .await;
    connection
}

/// Starts a server with the default limits.
async fn serve_with_defaults(installation: &Installation) -> Server {
    let config = installation.directory().join("defaults.toml");
    fs::write(&config, "").expect("the file is written");
    installation
        .start_with(["--config", config.to_str().expect("the path is UTF-8")])
        .await
}

async fn calls_fail_with_a_retry_delay_while_the_file_is_locked(installation: Installation) {
    let server = serve_with_defaults(&installation).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let ask = || question(&token.secret, &acme, &["repository"]);
    let lock = lock_file(&installation).await;
    assert_eq!(
        server.verdict(ask()).await.decision(),
        Decision::Allow,
        "reads are not blocked"
    );
    let (mut tokens, mut writers) = (server.admin().token_admin(), server.admin().token_admin());
    let revoke = RevokeTokenRequest {
        name: token.public.name.clone(),
        ..RevokeTokenRequest::default()
    };
    // Of two concurrent calls, one first waits for the other.
    let (created, revoked) = tokio::join!(writers.create_token(token_in(&acme)), tokens.revoke_token(revoke));
    // The expiry of a token is stored before it is reported.
    installation.clock().set_ahead(Duration::from_secs(2 * 3_600));
    let expired = server.admin().token_verify().verify(ask()).await;
    for failure in [
        created.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
        revoked.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
        expired.refused(Code::Unavailable, ErrorReason::StorageUnavailable),
    ] {
        assert!(failure.retry_after.is_some(), "{failure:?}");
    }
    lock.close().await.expect("the connection closes");
    assert_eq!(server.verdict(ask()).await.decision(), Decision::Deny);
    server.token(token_in(&acme)).await;
}

async fn a_second_server_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let sentence = installation.refused_to_serve::<&str>([]).await;
    assert!(
        sentence.contains("tokend.db") && sentence.contains("one server at a time"),
        "{sentence}"
    );
    // Commands that are allowed beside a server still work.
    installation.run_on_data(["keyring", "status"]).await.succeeded();
    server.token(token_in(&acme)).await;
    let admin_key = server.admin_key().to_owned();
    server.kill();
    installation.serve(&admin_key).await.token(token_in(&acme)).await;
}

async fn serve_and_restore_are_refused_while_the_lock_is_held(installation: Installation) {
    installation.init().await;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(installation.data_dir().join("tokend.db-lock"));
    let file = file.expect("the file opens");
    file.try_lock().expect("the file is not locked");
    for sentence in [
        installation.refused_to_serve::<&str>([]).await,
        installation
            .run_on_data(["restore", "--revoke-all"])
            .await
            .failed_with_a_sentence(),
    ] {
        assert!(sentence.contains("stop every server"), "{sentence}");
    }
    drop(file);
    installation.run_on_data(["restore", "--revoke-all"]).await.succeeded();
}

async fn a_restore_warns_about_a_leftover_write_ahead_log(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    server.kill();
    let restored = installation.run_on_data(["restore", "--revoke-all"]).await;
    assert!(
        restored.status.success() && restored.stderr.contains("tokend.db-wal"),
        "{restored:#?}"
    );
    let again = installation.run_on_data(["restore", "--revoke-all"]).await;
    assert!(again.status.success() && !again.stderr.contains("-wal"), "{again:#?}");
}
