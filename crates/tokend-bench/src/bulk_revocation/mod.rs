//! Revokes 100,000 tokens of one workspace by filter, and measures how much this slows down another workspace: its
//! verifications, token creations and revocations are timed before and during the revocation, in one run, over gRPC.
//!
//! `tokend-bench bulk-revocation [TOKENS [DATABASE_URL]]`; without a URL, on SQLite in a
//! temporary directory. The database at the URL must be empty. Fails if a token is left, or if the audit log is damaged
//! or does not have exactly one event for each token.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

mod neighbours;

use std::time::Duration;

use crate::{
    BoxError,
    durations::{Durations, ratio},
    installation::{Installation, RunningServer},
    tokens::fill,
};
use neighbours::{Neighbours, Timed};
use tokend_client::{Client, v1};
use tokend_core::time::Clock;

const TOKENS: usize = 100_000;
/// The workspace whose tokens are revoked, and the other.
const WORKSPACE: &str = "workspaces/acme";
const NEIGHBOUR: &str = "workspaces/neighbour";
/// How long the neighbours are timed before the revocation.
const BEFORE: Duration = Duration::from_secs(20);
/// Calls at the start and at the end that are compared, to see whether calls get slower the more tokens are revoked.
const ENDS: usize = 10;

/// Revoke all tokens of a workspace by filter, and measure how much this slows down another workspace
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many tokens
    #[arg(default_value_t = TOKENS)]
    tokens: usize,
    /// An empty database, if not SQLite in a temporary directory
    database_url: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The server does not start, or a call fails.
///
/// # Panics
/// If a token is left, or the audit log is not complete and intact.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let Args { tokens, database_url } = args;
    let tokens = *tokens;
    let installation = Installation::new(database_url.clone()).await?;
    let clock = installation.clock().clone();

    // Created with a call, so that they are in the audit log.
    let serving = installation.serve().await?;
    for name in [WORKSPACE, NEIGHBOUR] {
        create_workspace(&serving, name).await?;
    }
    serving.stop().await?;
    let store = installation.open().await?;
    fill(&store, &WORKSPACE.trim_start_matches("workspaces/").parse()?, tokens).await?;
    store.close().await;

    let serving = installation.serve().await?;
    let client = serving.endpoint().connect().await?;
    let neighbours = Neighbours::start(serving.endpoint(), &clock, NEIGHBOUR);
    tokio::time::sleep(BEFORE).await;
    let before = neighbours.take();
    let (finding, _) = revoke_some(&client, &clock, true).await?;
    let calls = revoke_all(&client, &clock).await?;
    let during = neighbours.take();
    neighbours.stop().await?;

    println!("find 1,000 tokens and count the others, among {tokens}: {finding:.1?}");
    print_calls(tokens, &calls);
    print_neighbours(&before, &during);
    check_tokens(&client, tokens).await?;
    drop(client);
    serving.stop().await?;
    check_audit_log(&installation).await
}

async fn create_workspace(serving: &RunningServer, name: &str) -> Result<(), BoxError> {
    let id = name.trim_start_matches("workspaces/").to_owned();
    let request = v1::CreateWorkspaceRequest {
        display_name: id.clone(),
        workspace_id: id,
        organization: String::new(),
    };
    serving
        .endpoint()
        .connect()
        .await?
        .workspace_admin()
        .create_workspace(request)
        .await?;
    Ok(())
}

/// Repeats the call until no tokens are left, as `tokend token revoke` does. Returns the duration of each call.
async fn revoke_all(client: &Client, clock: &Clock) -> Result<Vec<Duration>, BoxError> {
    let mut calls = Vec::new();
    loop {
        let (took, left) = revoke_some(client, clock, false).await?;
        calls.push(took);
        if left == 0 {
            return Ok(calls);
        }
    }
}

/// Makes one call. Returns its duration, and how many tokens are left.
async fn revoke_some(client: &Client, clock: &Clock, validate_only: bool) -> Result<(Duration, i32), BoxError> {
    let request = v1::BatchRevokeTokensRequest {
        parent: WORKSPACE.to_owned(),
        filter: "state = ACTIVE".to_owned(),
        reason: "the workspace moves".to_owned(),
        validate_only,
        ..Default::default()
    };
    let start = clock.boot_time();
    let answer = client.token_admin().batch_revoke_tokens(request).await?.into_inner();
    Ok((clock.boot_time().saturating_since(start), answer.remaining_count))
}

fn print_calls(tokens: usize, calls: &[Duration]) {
    let total: Duration = calls.iter().sum();
    let durations = Durations::of(calls.to_vec());
    println!(
        "{tokens} tokens in {} calls, {total:.1?}: median {:.1?}, longest {:.1?} a call",
        calls.len(),
        durations.median(),
        durations.max()
    );
    let (first, last) = (
        &calls[..ENDS.min(calls.len())],
        &calls[calls.len().saturating_sub(ENDS)..],
    );
    let (first, last) = (
        Durations::of(first.to_vec()).median(),
        Durations::of(last.to_vec()).median(),
    );
    println!(
        "median of the first {ENDS} {first:.1?}, of the last {ENDS} {last:.1?}: ratio {:.2}",
        ratio(last, first)
    );
}

fn print_neighbours(before: &[Timed; 3], during: &[Timed; 3]) {
    println!("in another workspace, before | during (ratio):");
    for (before, during) in before.iter().zip(during) {
        let (name, failed) = (before.name, during.failed);
        let (before, during) = (Durations::of(before.took.clone()), Durations::of(during.took.clone()));
        let pair = |what: &str, figure: fn(&Durations) -> Duration| {
            let (before, during) = (figure(&before), figure(&during));
            format!("{what} {before:.1?} | {during:.1?} ({:.1})", ratio(during, before))
        };
        println!(
            "{name:>11}: {}, {}, {}; {} | {} calls, {failed} failed",
            pair("median", Durations::median),
            pair("99 % within", Durations::percentile_99),
            pair("longest", Durations::max),
            before.count(),
            during.count(),
        );
    }
}

async fn check_tokens(client: &Client, tokens: usize) -> Result<(), BoxError> {
    let request = v1::GetWorkspaceRequest {
        name: WORKSPACE.to_owned(),
    };
    let workspace = client
        .workspace_admin()
        .get_workspace(request)
        .await?
        .into_inner()
        .workspace
        .unwrap_or_default();
    assert_eq!(workspace.active_token_count, 0, "tokens are left");
    let (mut revoked, mut page_token) = (0, String::new());
    loop {
        let parent = WORKSPACE.to_owned();
        let request = v1::ListAuditEventsRequest {
            parent,
            page_size: 1_000,
            page_token,
            ..Default::default()
        };
        let page = client.audit_log().list_audit_events(request).await?.into_inner();
        revoked += page
            .events
            .iter()
            .filter(|event| event.r#type == "token.revoked")
            .count();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(revoked, tokens, "each token has one event");
    println!("no token is left; {revoked} revocations are in the audit log");
    Ok(())
}

/// Verifies the audit log, as `tokend audit verify` does.
async fn check_audit_log(installation: &Installation) -> Result<(), BoxError> {
    let store = installation.open().await?;
    let report = store.verify_audit(Vec::new()).await?;
    store.close().await;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    println!(
        "the audit log is intact: {} records and {} rows were compared",
        report.records, report.rows
    );
    Ok(())
}
