//! A revocation whose COMMIT is interrupted is stored completely or not at all, with its audit event and its line for
//! the revocations file. It is acknowledged only if no failover can undo it. A repeat always works.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokend_client::v1::{Decision, ErrorReason, RevokeTokenRequest, RevokeTokenResponse, VerifyRequest};
use tokend_tests::{Installation, Proxy, Refused, Server, eventually, held_writes, on_postgres, postgres::Node};
use tokio::task::JoinHandle;
use tonic::{Code, Response, Status};

use crate::{
    restore::{exported, lines, serve},
    standby::{becomes_ready, is_denied, revoke, token},
};

on_postgres!(
    a_revocation_outlives_a_call_that_is_cancelled_during_commit,
    a_revocation_outlives_a_call_that_is_cancelled_before_commit,
    a_commit_without_an_answer_is_not_acknowledged,
    a_commit_that_does_not_arrive_is_not_acknowledged,
    a_cancelled_commit_is_not_acknowledged_and_may_be_lost,
    a_terminated_commit_is_not_acknowledged,
);

const REASON: &str = "it was on a screenshot";

/// Connections whose COMMIT waits for a synchronous standby after it has changed the feed, as every revocation does.
macro_rules! waiting_commits {
    ($column:literal) => {
        concat!(
            "SELECT count(*) FROM (SELECT ",
            $column,
            " FROM pg_stat_activity a WHERE wait_event = 'SyncRep' AND EXISTS (SELECT FROM pg_locks l \
             WHERE l.pid = a.pid AND relation = 'feed'::regclass AND mode = 'RowExclusiveLock')) waiting"
        )
    };
}

/// The numbers of revoked tokens, of their audit events, and of lines for the revocations file.
type Stored = (i64, i64, i64);

const NOTHING: Stored = (0, 0, 0);
const EVERYTHING: Stored = (1, 1, 1);

async fn stored(url: &str) -> Stored {
    let query = "SELECT (SELECT count(*) FROM tokens WHERE revoke_time IS NOT NULL), \
                 (SELECT count(*) FROM audit_events WHERE type = 'token.revoked'), (SELECT count(*) FROM endings)";
    let mut connection = PgConnection::connect(url).await.expect("the server is reachable");
    let stored = sqlx::query_as(query)
        .fetch_one(&mut connection)
        .await
        .expect("the rows are counted");
    connection.close().await.expect("the connection closes");
    stored
}

pub(crate) type Answer = Result<Response<RevokeTokenResponse>, Status>;

/// Sends a revocation, without waiting for its answer.
pub(crate) fn begin_to_revoke(server: &Server, name: &str) -> JoinHandle<Answer> {
    let client = server.admin().clone();
    let request = RevokeTokenRequest {
        name: name.to_owned(),
        reason: REASON.to_owned(),
        ..RevokeTokenRequest::default()
    };
    tokio::spawn(async move { client.token_admin().revoke_token(request).await })
}

/// Cancels a call, and waits until the server knows: it gets the frames of a connection in order.
async fn cancel<T>(call: JoinHandle<T>, server: &Server, question: &VerifyRequest) {
    call.abort();
    assert!(call.await.is_err_and(|error| error.is_cancelled()), "it had no answer");
    assert_eq!(server.verdict(question.clone()).await.decision(), Decision::Allow);
}

/// Waits until the COMMIT of a revocation waits for a standby.
pub(crate) async fn revocation_waits(primary: &Node) {
    eventually("a COMMIT waits for a standby", async || {
        primary.number(waiting_commits!("pid")).await.filter(|count| *count > 0)
    })
    .await;
}

/// Cuts the connections through a proxy, and refuses new ones.
pub(crate) fn reaches_nobody(proxy: &Proxy) {
    // This one is gone when the statement has run.
    proxy.lead_to(Proxy::start(proxy.address(), Duration::ZERO).address());
    proxy.cut();
}

/// Asserts that the call fails in such a way that its outcome is unknown.
pub(crate) async fn is_not_acknowledged(call: JoinHandle<Answer>) {
    let answer = call.await.expect("the task does not panic");
    answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
}

/// Runs a query that disturbs the waiting commits, and returns whether there was one, until the call has an answer.
async fn disturb(primary: &Node, query: &'static str, call: &JoinHandle<Answer>) {
    let mut disturbed = 0;
    eventually("the call has an answer", async || {
        disturbed += primary.number(query).await.unwrap_or(0);
        call.is_finished().then_some(())
    })
    .await;
    assert!(disturbed > 0, "the call had an answer before its COMMIT was disturbed");
}

/// Cancels commits of revocations that wait for a standby, until the call has an answer.
pub(crate) async fn cancel_commits(primary: &Node, call: &JoinHandle<Answer>) {
    disturb(primary, waiting_commits!("pg_cancel_backend(pid)"), call).await;
}

/// Waits until the token is denied. This may take a moment, since nobody was told that it is revoked.
async fn becomes_denied(server: &Server, question: &VerifyRequest) {
    eventually("the token is denied", async || {
        let verdict = server.admin().token_verify().verify(question.clone()).await.ok()?;
        (verdict.into_inner().decision() == Decision::Deny).then_some(())
    })
    .await;
}

/// Asserts that a repetition revokes the token, and that it leaves one trace of it.
async fn a_repeat_works(installation: &Installation, server: &Server, url: &str, name: &str, question: &VerifyRequest) {
    eventually("the token is revoked", async || revoke(server, name).await.ok()).await;
    is_denied(server, question).await;
    assert_eq!(stored(url).await, EVERYTHING);
    exported(installation, name).await;
    assert_eq!(lines(installation).len(), 1);
}

async fn a_revocation_outlives_a_call_that_is_cancelled_during_commit(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let installation = installation.on_database(primary.url());
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let (name, question) = token(&server).await;

    primary.set("synchronous_standby_names", Some("nobody"));
    let call = begin_to_revoke(&server, &name);
    revocation_waits(&primary).await;
    assert_eq!(stored(&primary.url()).await, NOTHING);
    cancel(call, &server, &question).await;
    primary.set("synchronous_standby_names", None);
    eventually("the revocation is stored", async || {
        let stored = stored(&primary.url()).await;
        assert!([NOTHING, EVERYTHING].contains(&stored), "{stored:?}");
        (stored == EVERYTHING).then_some(())
    })
    .await;
    becomes_denied(&server, &question).await;
    exported(&installation, &name).await;
    a_repeat_works(&installation, &server, &primary.url(), &name, &question).await;
}

/// The transaction waits for its last rows when the client goes away.
async fn a_revocation_outlives_a_call_that_is_cancelled_before_commit(installation: Installation) {
    let url = installation.postgres().expect("it is PostgreSQL").url().to_owned();
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let (name, question) = token(&server).await;

    let held = held_writes::hold_table(&installation, "endings").await;
    let call = begin_to_revoke(&server, &name);
    let query = "SELECT l.pid::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                 WHERE datname = current_database() AND relation = 'endings'::regclass \
                 AND mode = 'RowExclusiveLock' AND NOT granted";
    eventually("the transaction waits for a lock", async || {
        (!installation.texts(query).await.is_empty()).then_some(())
    })
    .await;
    cancel(call, &server, &question).await;
    held.release().await;
    eventually("the revocation is stored", async || {
        (stored(&url).await == EVERYTHING).then_some(())
    })
    .await;
    becomes_denied(&server, &question).await;
    a_repeat_works(&installation, &server, &url, &name, &question).await;
}

/// Starts a server that reaches PostgreSQL through the proxy.
async fn serve_through(proxy: &Proxy, installation: Installation) -> (Installation, Server) {
    let installation = installation.on_database(format!("postgres://postgres@{}/postgres", proxy.address()));
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    (installation, server)
}

/// The connection is cut after PostgreSQL has committed, and before the server learns of it.
async fn a_commit_without_an_answer_is_not_acknowledged(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let proxy = Proxy::start(primary.address(), Duration::ZERO);
    let (installation, server) = serve_through(&proxy, installation).await;
    let (name, question) = token(&server).await;

    proxy.hold_answers_to(&[REASON, "COMMIT"]);
    let call = begin_to_revoke(&server, &name);
    eventually("the revocation is stored", async || {
        let stored = stored(&primary.url()).await;
        assert!([NOTHING, EVERYTHING].contains(&stored), "{stored:?}");
        (stored == EVERYTHING).then_some(())
    })
    .await;
    assert_eq!(proxy.held(), 1);
    assert!(!call.is_finished(), "the call waits for the answer to its COMMIT");
    proxy.cut();
    is_not_acknowledged(call).await;
    becomes_denied(&server, &question).await;
    a_repeat_works(&installation, &server, &primary.url(), &name, &question).await;
}

/// The connection is cut when the server has sent COMMIT, and before PostgreSQL gets it.
async fn a_commit_that_does_not_arrive_is_not_acknowledged(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let proxy = Proxy::start(primary.address(), Duration::ZERO);
    let (installation, server) = serve_through(&proxy, installation).await;
    let (name, question) = token(&server).await;

    proxy.hold_requests_with(&[REASON, "COMMIT"]);
    let call = begin_to_revoke(&server, &name);
    eventually("the server sends COMMIT", async || (proxy.held() == 1).then_some(())).await;
    proxy.cut();
    is_not_acknowledged(call).await;
    assert_eq!(stored(&primary.url()).await, NOTHING);
    eventually("the token is verified", async || {
        let verdict = server.admin().token_verify().verify(question.clone()).await.ok()?;
        assert_eq!(verdict.into_inner().decision(), Decision::Allow);
        Some(())
    })
    .await;
    a_repeat_works(&installation, &server, &primary.url(), &name, &question).await;
}

/// PostgreSQL acknowledges a COMMIT with a warning if its wait for a synchronous standby is cancelled. The token is
/// revoked then, but a failover would undo it, so that not even a repetition may say that the token is revoked.
async fn a_cancelled_commit_is_not_acknowledged_and_may_be_lost(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let proxy = Proxy::start(primary.address(), Duration::ZERO);
    let standby = primary.standby_through(proxy.address());
    primary.set("synchronous_standby_names", Some("*"));
    let (first, second) = (standby.address(), primary.address());
    let installation = installation.on_database(format!("postgres://postgres@{first},{second}/postgres"));
    let server = installation.start().await;
    let (name, question) = token(&server).await;

    reaches_nobody(&proxy);
    for _ in 0..2 {
        let call = begin_to_revoke(&server, &name);
        cancel_commits(&primary, &call).await;
        is_not_acknowledged(call).await;
        assert_eq!(stored(&primary.url()).await, EVERYTHING);
        becomes_denied(&server, &question).await;
    }

    primary.stop();
    standby.execute("SELECT pg_promote()");
    assert_eq!(stored(&standby.url()).await, NOTHING);
    becomes_ready(&server).await;
    eventually("the token is revoked", async || revoke(&server, &name).await.ok()).await;
    is_denied(&server, &question).await;
    assert_eq!(stored(&standby.url()).await, EVERYTHING);
}

async fn a_terminated_commit_is_not_acknowledged(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let installation = installation.on_database(primary.url());
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let (name, question) = token(&server).await;
    primary.set("synchronous_standby_names", Some("nobody"));
    for _ in 0..2 {
        let call = begin_to_revoke(&server, &name);
        disturb(&primary, waiting_commits!("pg_terminate_backend(pid)"), &call).await;
        is_not_acknowledged(call).await;
        assert_eq!(stored(&primary.url()).await, EVERYTHING);
        becomes_denied(&server, &question).await;
    }
    primary.set("synchronous_standby_names", None);
    a_repeat_works(&installation, &server, &primary.url(), &name, &question).await;
}
