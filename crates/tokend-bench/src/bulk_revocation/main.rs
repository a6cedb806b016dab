//! 100,000 tokens of one workspace are revoked by a filter, and what another workspace notices of it: its verdicts, its new tokens and its
//! revocations are timed before and meanwhile, in one run, over gRPC.
//!
//! `cargo run --release -p tokend-bench --bin bulk-revocation [TOKENS [DATABASE_URL]]`; without a URL on SQLite in a temporary directory.
//! The database of a URL must be empty. Fails if a token is left, or if the audit log is not whole or does not tell of each token once.

#![expect(clippy::print_stdout, reason = "its figures are what it prints")]

mod neighbours;

use std::time::Duration;

use neighbours::{Neighbours, Timed};
use tokend_bench::{
    Failure,
    figures::{Figures, ratio},
    filling::fill,
    installation::{Installation, Serving},
};
use tokend_client::{Client, v1};
use tokend_core::clock::Clock;

const TOKENS: usize = 100_000;
/// The workspace whose tokens are revoked, and the other.
const WORKSPACE: &str = "workspaces/acme";
const NEIGHBOUR: &str = "workspaces/neighbour";
/// How long the neighbours are timed before.
const BEFORE: Duration = Duration::from_secs(20);
/// Calls at the start and at the end that are compared: whether they take longer, the more was revoked already.
const ENDS: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let tokens = arguments.next().map_or(Ok(TOKENS), |count| count.parse())?;
    let installation = Installation::new(arguments.next()).await?;
    let clock = installation.clock().clone();

    // By call, so that they are on record.
    let serving = installation.serve().await?;
    for name in [WORKSPACE, NEIGHBOUR] {
        make_workspace(&serving, name).await?;
    }
    serving.stop().await?;
    let store = installation.open().await?;
    fill(&store, &WORKSPACE.trim_start_matches("workspaces/").parse()?, tokens).await?;
    store.close().await;

    let serving = installation.serve().await?;
    let client = serving.door().connect().await?;
    let neighbours = Neighbours::start(serving.door(), &clock, NEIGHBOUR);
    tokio::time::sleep(BEFORE).await;
    let before = neighbours.taken();
    let (finding, _) = revoke_some(&client, &clock, true).await?;
    let calls = revoke_all(&client, &clock).await?;
    let during = neighbours.taken();
    neighbours.stop().await?;

    println!("to find 1,000 and count the others, among {tokens}: {finding:.1?}");
    tell_calls(tokens, &calls);
    tell_neighbours(&before, &during);
    nothing_is_left(&client, tokens).await?;
    drop(client);
    serving.stop().await?;
    the_record_is_whole(&installation).await
}

async fn make_workspace(serving: &Serving, name: &str) -> Result<(), Failure> {
    let id = name.trim_start_matches("workspaces/").to_owned();
    let request = v1::CreateWorkspaceRequest { display_name: id.clone(), workspace_id: id, organization: String::new() };
    serving.door().connect().await?.workspace_admin().create_workspace(request).await?;
    Ok(())
}

/// Repeats the call until nothing is left, as `tokend token revoke` does; how long each took.
async fn revoke_all(client: &Client, clock: &Clock) -> Result<Vec<Duration>, Failure> {
    let mut calls = Vec::new();
    loop {
        let (took, left) = revoke_some(client, clock, false).await?;
        calls.push(took);
        if left == 0 {
            return Ok(calls);
        }
    }
}

/// One call: how long it took, and how many it left.
async fn revoke_some(client: &Client, clock: &Clock, validate_only: bool) -> Result<(Duration, i32), Failure> {
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

fn tell_calls(tokens: usize, calls: &[Duration]) {
    let in_all: Duration = calls.iter().sum();
    let figures = Figures::of(calls.to_vec());
    println!(
        "{tokens} tokens in {} calls, {in_all:.1?}: median {:.1?}, longest {:.1?} a call",
        calls.len(),
        figures.median(),
        figures.max()
    );
    let (first, last) = (&calls[..ENDS.min(calls.len())], &calls[calls.len().saturating_sub(ENDS)..]);
    let (first, last) = (Figures::of(first.to_vec()).median(), Figures::of(last.to_vec()).median());
    println!("median of the first {ENDS} {first:.1?}, of the last {ENDS} {last:.1?}: ratio {:.2}", ratio(last, first));
}

fn tell_neighbours(before: &[Timed; 3], during: &[Timed; 3]) {
    println!("in another workspace, before | meanwhile (ratio):");
    for (before, during) in before.iter().zip(during) {
        let (name, failed) = (before.name, during.failed);
        let (before, during) = (Figures::of(before.took.clone()), Figures::of(during.took.clone()));
        let pair = |what: &str, figure: fn(&Figures) -> Duration| {
            let (before, during) = (figure(&before), figure(&during));
            format!("{what} {before:.1?} | {during:.1?} ({:.1})", ratio(during, before))
        };
        println!(
            "{name:>11}: {}, {}, {}; {} | {} calls, {failed} failed",
            pair("median", Figures::median),
            pair("99 % within", Figures::percentile_99),
            pair("longest", Figures::max),
            before.count(),
            during.count(),
        );
    }
}

async fn nothing_is_left(client: &Client, tokens: usize) -> Result<(), Failure> {
    let request = v1::GetWorkspaceRequest { name: WORKSPACE.to_owned() };
    let workspace = client.workspace_admin().get_workspace(request).await?.into_inner().workspace.unwrap_or_default();
    assert_eq!(workspace.active_token_count, 0, "tokens are left");
    let (mut revoked, mut page_token) = (0, String::new());
    loop {
        let parent = WORKSPACE.to_owned();
        let request = v1::ListAuditEventsRequest { parent, page_size: 1_000, page_token, ..Default::default() };
        let page = client.audit_log().list_audit_events(request).await?.into_inner();
        revoked += page.events.iter().filter(|event| event.r#type == "token.revoked").count();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(revoked, tokens, "each token is on record once");
    println!("nothing is left; {revoked} revocations are on record");
    Ok(())
}

/// As `tokend audit verify` has it.
async fn the_record_is_whole(installation: &Installation) -> Result<(), Failure> {
    let store = installation.open().await?;
    let report = store.verify_audit(Vec::new()).await?;
    store.close().await;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    println!("the audit log is whole: {} records and {} rows were compared", report.records, report.rows);
    Ok(())
}
