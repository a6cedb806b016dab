//! `RevokeToken`s that wait in one server share a transaction, and each has its own outcome all the same.

mod disturbed;
mod outcomes;
mod queue;

use tokend_client::{
    Client,
    v1::{RevokeTokenRequest, RevokeTokenResponse},
};
use tokend_tests::{Installation, Records, Server, eventually, http, token_in};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

type Call = JoinHandle<Result<Response<RevokeTokenResponse>, Status>>;

/// A request that does not wait for other servers.
fn request(name: &str) -> RevokeTokenRequest {
    RevokeTokenRequest {
        name: name.to_owned(),
        reason: format!("reason of {name}"),
        no_wait: true,
    }
}

/// Begins a call.
fn begin(client: &Client, request: Request<RevokeTokenRequest>) -> Call {
    let client = client.clone();
    tokio::spawn(async move { client.token_admin().revoke_token(request).await })
}

fn revoke(client: &Client, name: &str) -> Call {
    begin(client, Request::new(request(name)))
}

async fn answer(call: Call) -> Result<Response<RevokeTokenResponse>, Status> {
    call.await.expect("the task does not panic")
}

async fn revoked(call: Call) -> RevokeTokenResponse {
    answer(call).await.expect("RevokeToken succeeds").into_inner()
}

fn number(answer: &RevokeTokenResponse) -> u64 {
    answer.revision.expect("a revision").number
}

async fn tokens(server: &Server, workspace: &str, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(server.token(token_in(workspace)).await.public.name);
    }
    names
}

/// Waits until this many calls are in transactions, and this many wait for one.
async fn until_queued(server: &Server, running: usize, waiting: usize) {
    let lines = [("running", running), ("waiting", waiting)]
        .map(|(state, count)| format!("tokend_revocations{{state=\"{state}\"}} {count}"));
    eventually("the calls wait", async || {
        let (_, metrics) = http::get(server.ops_address(), "/metrics");
        let is_shown = |line: &String| metrics.lines().any(|found| found == line);
        lines.iter().all(is_shown).then_some(())
    })
    .await;
}

/// Begins a call and waits until it is in a transaction, while all writes are held.
async fn open(server: &Server, name: &str) -> Call {
    let call = revoke(server.admin(), name);
    until_queued(server, 1, 0).await;
    call
}

/// Asserts that every revision has one entry in the feed, and returns the last revision.
async fn last_revision(installation: &Installation) -> i64 {
    let mut records = Records::of_installation(installation).await;
    let last = records.count("SELECT revision FROM feed").await;
    let entries = records.count("SELECT count(*) FROM feed_log").await;
    let first = records.count("SELECT coalesce(min(revision), 1) FROM feed_log").await;
    assert_eq!(entries, last - first + 1, "the feed has no gaps");
    last
}
