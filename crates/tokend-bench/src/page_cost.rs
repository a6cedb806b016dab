//! Measures what a page of `ListTokens` costs in a workspace with 1,000 tokens and in one with 100,000, over gRPC on
//! the same server.
//!
//! `tokend-bench page-cost [DATABASE_URL]`; without a URL, on SQLite in a temporary
//! directory. The database at the URL must be empty.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

use std::time::Duration;

use crate::{
    BoxError,
    durations::{Durations, ratio},
    installation::Installation,
    tokens::{create_workspace, fill},
};
use tokend_client::{Client, v1};
use tokend_core::{name::WorkspaceId, time::Clock};

const SIZES: [(&str, usize); 2] = [("small", 1_000), ("large", 100_000)];
const PAGE_SIZE: i32 = 50;
/// Calls for each measurement, alternating between the workspaces.
const ROUNDS: usize = 400;

/// Measure what a page of ListTokens costs in a small and in a large workspace
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An empty database, if not SQLite in a temporary directory
    database_url: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The server does not start, or a call fails.
///
/// # Panics
/// If an answer is wrong.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let installation = Installation::new(args.database_url.clone()).await?;
    let store = installation.open().await?;
    for (id, size) in SIZES {
        let id: WorkspaceId = id.parse()?;
        create_workspace(&store, &id).await?;
        fill(&store, &id, size).await?;
    }
    store.close().await;
    let (serving, clock) = (installation.serve().await?, installation.clock());
    let client = serving.endpoint().connect().await?;

    println!("median of {ROUNDS} pages of {PAGE_SIZE} tokens each, alternating");
    let (mut first, mut middle) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let places = [
        middle_page(&client, SIZES[0]).await?,
        middle_page(&client, SIZES[1]).await?,
    ];
    for _ in 0..ROUNDS {
        for (index, (id, _)) in SIZES.into_iter().enumerate() {
            first[index].push(timed(&client, clock, id, "").await?);
            middle[index].push(timed(&client, clock, id, &places[index]).await?);
        }
    }
    for (page, [small, large]) in [("first", first), ("middle", middle)] {
        let (small, large) = (Durations::of(small).median(), Durations::of(large).median());
        let ratio = ratio(large, small);
        println!("{page:>6} page: {small:?} of 1,000 tokens, {large:?} of 100,000: ratio {ratio:.2}");
    }
    drop(client);
    serving.stop().await
}

/// Returns the page token of a page in the middle of the list.
async fn middle_page(client: &Client, (workspace, size): (&str, usize)) -> Result<String, BoxError> {
    let mut page_token = String::new();
    for _ in 0..(size / 2).div_ceil(1_000) {
        let page_size = i32::try_from((size / 2).min(1_000))?;
        page_token = list(client, workspace, page_size, &page_token).await?.next_page_token;
    }
    Ok(page_token)
}

async fn timed(client: &Client, clock: &Clock, workspace: &str, page_token: &str) -> Result<Duration, BoxError> {
    let start = clock.boot_time();
    let page = list(client, workspace, PAGE_SIZE, page_token).await?;
    let took = clock.boot_time().saturating_since(start);
    assert_eq!(page.tokens.len(), usize::try_from(PAGE_SIZE)?, "a whole page");
    Ok(took)
}

async fn list(
    client: &Client,
    workspace: &str,
    page_size: i32,
    page_token: &str,
) -> Result<v1::ListTokensResponse, BoxError> {
    let request = v1::ListTokensRequest {
        parent: format!("workspaces/{workspace}"),
        filter: String::new(),
        page_size,
        page_token: page_token.to_owned(),
    };
    Ok(client.token_admin().list_tokens(request).await?.into_inner())
}
