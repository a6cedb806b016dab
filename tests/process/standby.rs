//! PostgreSQL with a standby: tokend uses only a server that accepts writes, so that it can revoke tokens.

use std::time::{Duration, Instant};

use tokend_client::v1::{Decision, ErrorReason, RevokeTokenRequest, VerifyRequest};
use tokend_tests::{
    Installation, Process, Proxy, Refused, SERVE_ON_FREE_PORTS, Server, eventually, http, on_postgres, postgres::Node,
    question, token_in,
};
use tonic::Code;

on_postgres!(
    serve_refuses_a_read_only_server,
    a_standby_returns_no_verdict,
    revocations_are_exported_from_a_standby,
    a_server_that_becomes_read_only_returns_no_verdict,
    the_primary_is_used_before_and_after_a_failover,
    a_commit_that_hangs_times_out,
);

/// The time within which a server that can't revoke reports that it is not ready, and an allowance for a busy machine.
const NOT_READY_WITHIN: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(2);

/// Creates a token, and returns its name and a request that verifies it.
pub(crate) async fn token(server: &Server) -> (String, VerifyRequest) {
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let question = question(&token.secret, &acme, &["repository"]);
    assert_eq!(server.verdict(question.clone()).await.decision(), Decision::Allow);
    (token.public.name, question)
}

/// Runs `serve` on the database at `url`, and returns its error message.
async fn refusal_to_serve(installation: &Installation, url: &str) -> String {
    let mut command = installation.command(["serve", "--database-url", url, "--data-dir"]);
    command.arg(installation.data_dir()).args(SERVE_ON_FREE_PORTS);
    Process::spawn(command, "").finish().await.failed_with_a_sentence()
}

pub(crate) async fn revoke(server: &Server, name: &str) -> Result<(), tonic::Status> {
    let request = RevokeTokenRequest {
        name: name.to_owned(),
        ..RevokeTokenRequest::default()
    };
    server.admin().token_admin().revoke_token(request).await.map(drop)
}

/// Asserts that the server soon reports that it is not ready.
#[expect(clippy::disallowed_methods, reason = "this is about how long it takes")]
pub(crate) async fn becomes_not_ready(server: &Server) {
    let begin = Instant::now();
    eventually("the server is not ready", async || {
        (http::get(server.ops_address(), "/readyz").0 == 503).then_some(())
    })
    .await;
    let took = begin.elapsed();
    assert!(took < NOT_READY_WITHIN + BUSY, "{took:?}");
}

/// Waits for the first verdict, and asserts that it denies.
pub(crate) async fn is_denied(server: &Server, question: &VerifyRequest) {
    let ask = async || server.admin().token_verify().verify(question.clone()).await.ok();
    let verdict = eventually("Verify succeeds", ask).await.into_inner();
    assert_eq!(verdict.decision(), Decision::Deny);
}

pub(crate) async fn becomes_ready(server: &Server) {
    eventually("the server is ready", async || {
        (http::get(server.ops_address(), "/readyz").0 == 200).then_some(())
    })
    .await;
}

async fn serve_refuses_a_read_only_server(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let installation = installation.on_database(primary.url());
    installation.init().await;
    let standby = primary.standby();
    let sentence = refusal_to_serve(&installation, &standby.url()).await;
    assert!(
        sentence.contains("standby") && sentence.contains(&standby.address().to_string()),
        "{sentence}"
    );
    primary.set("default_transaction_read_only", Some("on"));
    let sentence = eventually("the setting is in effect", async || {
        let sentence = refusal_to_serve(&installation, &primary.url()).await;
        sentence.contains("accepts no writes").then_some(sentence)
    });
    assert!(sentence.await.contains("primary"));
}

/// The proxy moves the server's connections from the primary to a standby whose replay has stopped.
async fn a_standby_returns_no_verdict(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let standby = primary.standby();
    let proxy = Proxy::start(primary.address(), Duration::ZERO);
    let installation = installation.on_database(format!("postgres://postgres@{}/postgres", proxy.address()));
    let server = installation.start().await;
    let (name, question) = token(&server).await;
    eventually("the standby is up to date", async || {
        let found = standby.number("SELECT count(*) FROM tokens").await;
        (found == Some(1)).then_some(())
    })
    .await;
    standby.execute("SELECT pg_wal_replay_pause()");

    let installation = installation.on_database(primary.url());
    let other = installation.serve(server.admin_key()).await;
    proxy.lead_to(standby.address());
    proxy.cut();
    becomes_not_ready(&server).await;
    revoke(&other, &name).await.expect("the primary accepts the revocation");
    for _ in 0..20 {
        let verdict = server.admin().token_verify().verify(question.clone()).await;
        verdict.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
    }
    let change = server
        .admin()
        .token_admin()
        .revoke_token(RevokeTokenRequest {
            name,
            ..RevokeTokenRequest::default()
        })
        .await;
    change.refused(Code::Unavailable, ErrorReason::StorageUnavailable);

    proxy.lead_to(primary.address());
    becomes_ready(&server).await;
    is_denied(&server, &question).await;
}

/// An export only reads, so a standby is enough.
async fn revocations_are_exported_from_a_standby(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let standby = primary.standby();
    let installation = installation.on_database(primary.url());
    let server = installation.start().await;
    let (name, _) = token(&server).await;
    revoke(&server, &name)
        .await
        .expect("the primary accepts the revocation");
    let installation = installation.on_database(standby.url());
    eventually("the standby has the revocation", async || {
        let exported = installation.run_on_data(["export-revocations"]).await;
        (exported.status.success() && exported.stdout.contains(&name)).then_some(())
    })
    .await;
}

/// Connections that were open before stay open, and must not be used either.
async fn a_server_that_becomes_read_only_returns_no_verdict(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let installation = installation.on_database(primary.url());
    let server = installation.start().await;
    let (name, question) = token(&server).await;
    primary.set("default_transaction_read_only", Some("on"));
    becomes_not_ready(&server).await;
    for _ in 0..20 {
        let verdict = server.admin().token_verify().verify(question.clone()).await;
        verdict.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
    }
    primary.set("default_transaction_read_only", None);
    becomes_ready(&server).await;
    eventually("the token is revoked", async || revoke(&server, &name).await.ok()).await;
    is_denied(&server, &question).await;
}

async fn the_primary_is_used_before_and_after_a_failover(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let standby = primary.standby();
    let (first, second) = (standby.address(), primary.address());
    let url = format!("postgres://postgres@{first},{second}/postgres?target_session_attrs=read-write");
    let installation = installation.on_database(url);
    let server = installation.start().await;
    let (name, question) = token(&server).await;
    eventually("the standby is up to date", async || {
        (standby.number("SELECT count(*) FROM tokens").await == Some(1)).then_some(())
    })
    .await;

    primary.stop();
    becomes_not_ready(&server).await;
    standby.execute("SELECT pg_promote()");
    becomes_ready(&server).await;
    eventually("the token is revoked", async || revoke(&server, &name).await.ok()).await;
    is_denied(&server, &question).await;
}

/// The wait for a COMMIT that no standby confirms is limited.
async fn a_commit_that_hangs_times_out(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let installation = installation.on_database(primary.url());
    let server = installation.start().await;
    let (name, question) = token(&server).await;
    primary.set("synchronous_standby_names", Some("nobody"));
    let refused = revoke(&server, &name).await.map(tonic::Response::new);
    refused.refused(Code::Unavailable, ErrorReason::StorageUnavailable);

    primary.set("synchronous_standby_names", None);
    eventually("the token is revoked", async || revoke(&server, &name).await.ok()).await;
    is_denied(&server, &question).await;
}
