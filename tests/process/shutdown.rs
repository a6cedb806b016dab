//! On SIGTERM the server reports that it is not ready, completes the calls in progress and exits within 20 seconds,
//! whatever its peers do. SIGINT and SIGQUIT do the same, and the other common signals are ignored.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::process::Signal;
use tokend_client::v1::{Decision, DenyReason, RevokeTokenRequest, token::State};
use tokend_tests::{
    Installation, Process, SERVE_ON_FREE_PORTS, eventually, on_both_databases, on_postgres, on_sqlite, question, raw,
    token_in,
};
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

on_both_databases!(
    the_server_stops_despite_open_connections,
    health_reports_the_stop_before_connections_close,
    answered_changes_are_stored_before_the_stop,
);

mod anywhere {
    use super::*;

    on_sqlite!(
        the_ports_are_free_after_the_stop,
        sigint_stops_the_server,
        sigquit_drains_and_writes_the_last_checkpoint,
        other_common_signals_are_ignored,
        sighup_stops_dev,
    );

    async fn the_ports_are_free_after_the_stop(installation: Installation) {
        let server = installation.start().await;
        let (grpc, ops) = (server.grpc_address().to_owned(), server.ops_address().to_owned());
        assert!(server.stop().await.status.success());
        for address in [grpc, ops] {
            // The port must be free.
            TcpListener::bind(&address).unwrap_or_else(|error| panic!("{address} is still held: {error}"));
        }
    }

    async fn sigint_stops_the_server(installation: Installation) {
        let server = installation.start().await;
        server.process().interrupt();
        assert!(server.finish().await.status.success());
    }

    async fn sigquit_drains_and_writes_the_last_checkpoint(installation: Installation) {
        let server = installation
            .start_with(["--audit-checkpoint-file", "checkpoints"])
            .await;
        server.workspace("acme").await;
        server.process().signal(Signal::QUIT);
        assert!(server.finish().await.status.success());
        let checkpoints =
            fs::read_to_string(installation.directory().join("checkpoints")).expect("the file is readable");
        assert!(checkpoints.contains("tokend-checkpoint"), "{checkpoints}");
    }

    async fn other_common_signals_are_ignored(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        for (signal, name) in [
            (Signal::HUP, "SIGHUP"),
            (Signal::USR1, "SIGUSR1"),
            (Signal::USR2, "SIGUSR2"),
        ] {
            server.process().signal(signal);
            let is_logged = async || {
                server
                    .process()
                    .stderr()
                    .contains(&format!("{name} is ignored"))
                    .then_some(())
            };
            eventually("the server logs the ignored signal", is_logged).await;
            server.token(token_in(&acme)).await;
        }
        assert!(server.stop().await.status.success());
        let help = Process::spawn(installation.command(["serve", "--help"]), "")
            .finish()
            .await
            .succeeded();
        for signal in ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] {
            assert!(help.contains(signal), "{signal}: {help}");
        }
    }

    async fn sighup_stops_dev(installation: Installation) {
        let mut dev = installation.command(["dev", "--ready-file", "ready"]);
        dev.args(SERVE_ON_FREE_PORTS);
        let process = Process::spawn(dev, "");
        let ready = installation.directory().join("ready");
        eventually("the ready file exists", async || ready.exists().then_some(())).await;
        process.signal(Signal::HUP);
        assert!(process.finish().await.status.success());
    }
}

mod under_way {
    use sqlx::{Connection, PgConnection};

    use super::*;

    on_postgres!(a_call_in_progress_is_answered_during_the_stop);

    /// A database lock blocks the call until the server drains.
    async fn a_call_in_progress_is_answered_during_the_stop(installation: Installation) {
        let url = installation.postgres().expect("the database is PostgreSQL").url();
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let mut health = HealthClient::new(raw::connect(server.grpc_address()).await);
        let watch = health
            .watch(HealthCheckRequest::default())
            .await
            .expect("Watch succeeds");

        let mut holder = PgConnection::connect(url).await.expect("the connection opens");
        let mut lock = holder.begin().await.expect("the transaction begins");
        sqlx::raw_sql("LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .expect("the table is locked");
        let (client, name) = (server.admin().clone(), token.public.name);
        let call = async move {
            client
                .token_admin()
                .revoke_token(RevokeTokenRequest {
                    name,
                    ..Default::default()
                })
                .await
        };
        let call = tokio::spawn(call);
        eventually("the call waits for the lock", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            let waiting: i64 = sqlx::query_scalar(waiting)
                .fetch_one(&mut *lock)
                .await
                .expect("the query succeeds");
            (waiting > 0).then_some(())
        })
        .await;

        server.process().terminate();
        let mut watch = watch.into_inner();
        while watch
            .message()
            .await
            .expect("the connection is open")
            .expect("the stream has a message")
            .status()
            == ServingStatus::Serving
        {}
        drop(watch);
        assert!(!call.is_finished());
        lock.commit().await.expect("the lock is released");
        let answer = call
            .await
            .expect("the task does not panic")
            .expect("RevokeToken succeeds")
            .into_inner();
        assert_eq!(
            answer.token.expect("the response has the token").state(),
            State::Revoked
        );
        assert!(
            timeout(LIMIT, server.finish())
                .await
                .expect("the server stops in time")
                .status
                .success()
        );
    }
}

const LIMIT: Duration = Duration::from_secs(20);

async fn the_server_stops_despite_open_connections(installation: Installation) {
    let server = installation.start().await;
    // The connections: two silent ones, one that stops in the middle of HTTP/2's preface, one idle after a call, an
    // open health watch, and the idle one of `server`.
    let silent = TcpStream::connect(server.grpc_address()).expect("the connection opens");
    let silent_ops = TcpStream::connect(server.ops_address()).expect("the connection opens");
    let mut halting = TcpStream::connect(server.grpc_address()).expect("the connection opens");
    halting.write_all(b"PRI * HTTP/2.0\r\n").expect("the bytes are sent");
    let idle = server.client(server.admin_key()).await;
    let acme = server.workspace("acme").await;
    idle.token_verify()
        .verify(question("", &acme, &[]))
        .await
        .expect("Verify succeeds");
    let channel = raw::connect(server.grpc_address()).await;
    let watch = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await
        .expect("Watch succeeds");

    let finished = timeout(LIMIT, server.stop())
        .await
        .expect("the server stops within 20 seconds");
    assert!(finished.status.success(), "{finished:#?}");
    drop((silent, silent_ops, halting, idle, watch));
}

async fn health_reports_the_stop_before_connections_close(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let mut watch = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await
        .expect("Watch succeeds")
        .into_inner();
    let serving = watch
        .message()
        .await
        .expect("the stream is open")
        .expect("the first message");
    assert_eq!(serving.status(), ServingStatus::Serving);
    let stopped = server.stop();
    let not_serving = async move {
        let next = watch
            .message()
            .await
            .expect("the connection is open")
            .expect("the stream has a message");
        assert_eq!(next.status(), ServingStatus::NotServing);
    };
    let (finished, ()) = tokio::join!(stopped, not_serving);
    assert!(finished.status.success(), "{finished:#?}");
}

async fn answered_changes_are_stored_before_the_stop(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(server.token(token_in(&acme)).await);
    }
    let revocations: Vec<_> = tokens
        .iter()
        .map(|token| {
            let (client, name) = (server.admin().clone(), token.public.name.clone());
            let request = RevokeTokenRequest {
                name,
                ..Default::default()
            };
            tokio::spawn(async move { client.token_admin().revoke_token(request).await })
        })
        .collect();
    let first = &revocations[0];
    eventually("the first call is answered", async || first.is_finished().then_some(())).await;
    let key = server.admin_key().to_owned();
    assert!(
        timeout(LIMIT, server.stop())
            .await
            .expect("the server stops in time")
            .status
            .success()
    );

    let successor = installation.serve(&key).await;
    let mut answered = 0;
    for (token, revocation) in tokens.iter().zip(revocations) {
        let outcome = revocation.await.expect("the task does not panic");
        let verdict = successor.verdict(question(&token.secret, &acme, &[])).await;
        if outcome.is_ok() {
            answered += 1;
            assert_eq!(
                verdict.deny_reason(),
                DenyReason::Revoked,
                "an answered revocation is stored"
            );
        } else {
            // A failed call has revoked the token completely, or not at all.
            assert!(verdict.decision() == Decision::Allow || verdict.deny_reason() == DenyReason::Revoked);
        }
    }
    assert!(answered > 0);
}
