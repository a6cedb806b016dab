//! SIGTERM: no longer ready, what is under way ends, and the process with it, within 20 seconds whatever peers do. No other signal ends
//! a server in a worse way.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::process::Signal;
use tokend_client::v1::{Decision, DenyReason, RevokeTokenRequest, token::State};
use tokend_tests::{
    Installation, Process, SERVE_ON_FREE_PORTS, eventually, on_both_databases, on_postgres, on_sqlite, question, raw, token_in,
};
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

on_both_databases!(it_ends_whatever_peers_do, health_says_so_before_connections_close, changes_under_way_are_answered_and_kept,);

mod anywhere {
    use super::*;

    on_sqlite!(
        nobody_is_let_in_any_more,
        ctrl_c_ends_it_as_well,
        sigquit_drains_and_writes_the_last_checkpoint,
        signals_of_habit_are_ignored,
        dev_ends_with_its_terminal,
    );

    async fn nobody_is_let_in_any_more(installation: Installation) {
        let server = installation.start().await;
        let (grpc, ops) = (server.grpc_address().to_owned(), server.ops_address().to_owned());
        assert!(server.stop().await.status.success());
        for address in [grpc, ops] {
            // Whoever takes the port now is welcome to it.
            TcpListener::bind(&address).unwrap_or_else(|error| panic!("{address} is still held: {error}"));
        }
    }

    async fn ctrl_c_ends_it_as_well(installation: Installation) {
        let server = installation.start().await;
        server.process().interrupt();
        assert!(server.finish().await.status.success());
    }

    async fn sigquit_drains_and_writes_the_last_checkpoint(installation: Installation) {
        let server = installation.start_with(["--audit-checkpoint-file", "checkpoints"]).await;
        server.workspace("acme").await;
        server.process().signal(Signal::QUIT);
        assert!(server.finish().await.status.success());
        let checkpoints = fs::read_to_string(installation.directory().join("checkpoints")).expect("it is there");
        assert!(checkpoints.contains("tokend-checkpoint"), "{checkpoints}");
    }

    async fn signals_of_habit_are_ignored(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
            server.process().signal(signal);
            let is_told = async || server.process().stderr().contains(&format!("{name} is ignored")).then_some(());
            eventually("the log says so", is_told).await;
            server.token(token_in(&acme)).await;
        }
        assert!(server.stop().await.status.success());
        let help = Process::spawn(installation.command(["serve", "--help"]), "").finish().await.succeeded();
        for signal in ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] {
            assert!(help.contains(signal), "{signal}: {help}");
        }
    }

    async fn dev_ends_with_its_terminal(installation: Installation) {
        let mut dev = installation.command(["dev", "--ready-file", "ready"]);
        dev.args(SERVE_ON_FREE_PORTS);
        let process = Process::spawn(dev, "");
        let ready = installation.directory().join("ready");
        eventually("it serves", async || ready.exists().then_some(())).await;
        process.signal(Signal::HUP);
        assert!(process.finish().await.status.success());
    }
}

mod under_way {
    use sqlx::{Connection, PgConnection};

    use super::*;

    on_postgres!(a_call_is_answered_although_the_server_is_told_to_end);

    /// A lock in the database holds the call up until the server drains.
    async fn a_call_is_answered_although_the_server_is_told_to_end(installation: Installation) {
        let url = installation.postgres().expect("it is on PostgreSQL").url();
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let mut health = HealthClient::new(raw::connect(server.grpc_address()).await);
        let watch = health.watch(HealthCheckRequest::default()).await.expect("it is served");

        let mut holder = PgConnection::connect(url).await.expect("it can be reached");
        let mut lock = holder.begin().await.expect("a transaction");
        sqlx::raw_sql("LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("the lock");
        let (client, name) = (server.admin().clone(), token.public.name);
        let call = async move { client.token_admin().revoke_token(RevokeTokenRequest { name, ..Default::default() }).await };
        let call = tokio::spawn(call);
        eventually("the call waits for the lock", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *lock).await.expect("locks are listed");
            (waiting > 0).then_some(())
        })
        .await;

        server.process().terminate();
        let mut watch = watch.into_inner();
        while watch.message().await.expect("before the connection closes").expect("before the stream ends").status()
            == ServingStatus::Serving
        {}
        drop(watch);
        assert!(!call.is_finished());
        lock.commit().await.expect("the lock is released");
        let answer = call.await.expect("it does not panic").expect("it is answered").into_inner();
        assert_eq!(answer.token.expect("told").state(), State::Revoked);
        assert!(timeout(LIMIT, server.finish()).await.expect("in time").status.success());
    }
}

const LIMIT: Duration = Duration::from_secs(20);

async fn it_ends_whatever_peers_do(installation: Installation) {
    let server = installation.start().await;
    // One that never says a word, one that stops in the middle of HTTP/2's preface, one idle after a call, one that watches for
    // ever, and the harness's own idle connection.
    let silent = TcpStream::connect(server.grpc_address()).expect("it is let in");
    let silent_ops = TcpStream::connect(server.ops_address()).expect("it is let in");
    let mut halting = TcpStream::connect(server.grpc_address()).expect("it is let in");
    halting.write_all(b"PRI * HTTP/2.0\r\n").expect("it is taken");
    let idle = server.client(server.admin_key()).await;
    let acme = server.workspace("acme").await;
    idle.token_verify().verify(question("", &acme, &[])).await.expect("a verdict");
    let channel = raw::connect(server.grpc_address()).await;
    let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("it is served");

    let finished = timeout(LIMIT, server.stop()).await.expect("it ends within 20 seconds");
    assert!(finished.status.success(), "{finished:#?}");
    drop((silent, silent_ops, halting, idle, watch));
}

async fn health_says_so_before_connections_close(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let mut watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("it is served").into_inner();
    let serving = watch.message().await.expect("it is served").expect("the first");
    assert_eq!(serving.status(), ServingStatus::Serving);
    let stopped = server.stop();
    let told = async move {
        let next = watch.message().await.expect("before the connection closes").expect("before the stream ends");
        assert_eq!(next.status(), ServingStatus::NotServing);
    };
    let (finished, ()) = tokio::join!(stopped, told);
    assert!(finished.status.success(), "{finished:#?}");
}

async fn changes_under_way_are_answered_and_kept(installation: Installation) {
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
            let request = RevokeTokenRequest { name, ..Default::default() };
            tokio::spawn(async move { client.token_admin().revoke_token(request).await })
        })
        .collect();
    let first = &revocations[0];
    eventually("the first one is answered", async || first.is_finished().then_some(())).await;
    let key = server.admin_key().to_owned();
    assert!(timeout(LIMIT, server.stop()).await.expect("in time").status.success());

    let successor = installation.serve(&key).await;
    let mut answered = 0;
    for (token, revocation) in tokens.iter().zip(revocations) {
        let outcome = revocation.await.expect("it does not panic");
        let verdict = successor.verdict(question(&token.secret, &acme, &[])).await;
        if outcome.is_ok() {
            answered += 1;
            assert_eq!(verdict.deny_reason(), DenyReason::Revoked, "what was answered has happened");
        } else {
            // Refused or cut off: then it may or may not have happened, but never by half.
            assert!(verdict.decision() == Decision::Allow || verdict.deny_reason() == DenyReason::Revoked);
        }
    }
    assert!(answered > 0);
}
