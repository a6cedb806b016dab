//! What a page of `ListTokens` costs in a workspace of 1,000 and in one of 100,000 tokens, side by side: over gRPC, in one server.
//!
//! `cargo run --release -p tokend-bench --bin page-cost [DATABASE_URL]`; without a URL on SQLite in a temporary directory. The
//! database of a URL must be empty.

use std::{error::Error, sync::Arc, time::Duration};

use tokend_client::{CallerKey, Client, v1};
use tokend_core::{
    address::AllowedAddresses,
    clock::Clock,
    credential::{Kind, Prefix},
    keyring::KeyRing,
    labels::Labels,
    name::{TokenName, WorkspaceId},
    policy::PolicyState,
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName},
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_server::{
    installation::install,
    limits::Limits,
    random,
    server::{Server, Settings},
    transport,
};
use tokend_store::{Insert, Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

const SIZES: [(&str, usize); 2] = [("small", 1_000), ("large", 100_000)];
const PAGE_SIZE: i32 = 50;
/// Tokens inserted in one transaction.
const BATCH: usize = 500;
/// Calls that a figure is the median of, alternating between the workspaces.
const ROUNDS: usize = 400;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let url = std::env::args().nth(1).unwrap_or_else(|| format!("sqlite://{}", directory.path().join("tokend.db").display()));
    let store_settings = tokend_store::Settings::new(url);
    let (clock, roots) = (Clock::system(), Arc::new(random::generate_roots(Prefix::default())?));
    let key = install(&store_settings, Arc::clone(&roots), clock.clone()).await?;

    let store = Store::open(&store_settings, Arc::clone(&roots), clock.clone()).await?;
    for (id, size) in SIZES {
        fill(&store, id.parse()?, size).await?;
    }
    store.close().await;

    let any = "127.0.0.1:0".parse()?;
    let settings = Settings {
        listen: any,
        ops_listen: None,
        tls: None,
        reflection: false,
        transport: transport::Settings::default(),
        limits: Limits::default(),
        store: store_settings,
        audit: tokend_server::audit_keeper::Settings::default(),
        keyring: None,
        revocations_file: None,
        webhook: None,
    };
    let server = Server::bind(settings, roots, clock.clone()).await?;
    let address = server.address()?.to_string();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.run(stop.clone()));
    let client = Client::connect(&address, &CallerKey::new(key.expose())?).await?;

    println!("median of {ROUNDS} pages of {PAGE_SIZE} tokens each, alternating");
    let (mut first, mut middle) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let places = [half_way(&client, SIZES[0]).await?, half_way(&client, SIZES[1]).await?];
    for _ in 0..ROUNDS {
        for (index, (id, _)) in SIZES.into_iter().enumerate() {
            first[index].push(timed(&client, &clock, id, "").await?);
            middle[index].push(timed(&client, &clock, id, &places[index]).await?);
        }
    }
    for (page, [small, large]) in [("first", first), ("middle", middle)] {
        let (small, large) = (median(small), median(large));
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        println!("{page:>6} page: {small:?} of 1,000 tokens, {large:?} of 100,000: ratio {ratio:.2}");
    }
    drop(client);
    stop.cancel();
    serving.await??;
    Ok(())
}

async fn fill(store: &Store, id: WorkspaceId, size: usize) -> Result<(), Failure> {
    let scopes = GrantedScopes::grant(&ScopeCatalog::bitbucket()?, &["repository:write"])?;
    let workspace = Workspace {
        id: id.clone(),
        display_name: DisplayName::new(id.to_string())?,
        organization: None,
        state: WorkspaceState::Active,
        create_time: store.now().await?,
        policy: PolicyState::default(),
    };
    let new: Result<Insert, StoreError> =
        store.write(move |tx| Box::pin(async move { tx.insert_workspace(&workspace).await })).await;
    assert_eq!(new?, Insert::Done, "the database was not empty");
    for _ in 0..size / BATCH {
        let (ring, id, scopes) = (store.keys(), id.clone(), scopes.clone());
        let batch = async move |tx: &WriteTx| {
            for _ in 0..BATCH {
                let token = token(&ring, &id, &scopes, tx).await?;
                assert_eq!(tx.insert_token(&token).await?, Insert::Done, "96 random bits met twice");
            }
            Ok::<_, Failure>(())
        };
        store.write(move |tx| Box::pin(async move { batch(tx).await })).await?;
    }
    Ok(())
}

async fn token(ring: &KeyRing, workspace: &WorkspaceId, scopes: &GrantedScopes, tx: &WriteTx) -> Result<Token, Failure> {
    let minted = random::mint(ring, Kind::WorkspaceToken)?;
    Ok(Token {
        name: TokenName { workspace: workspace.clone(), id: minted.id },
        digest: minted.digest,
        resource: Resource::workspace_itself(workspace),
        display_name: DisplayName::new("ci".to_owned())?,
        description: Description::new(String::new())?,
        scopes: scopes.clone(),
        allowed_addresses: AllowedAddresses::Any,
        labels: Labels::default(),
        create_time: tx.now().await?,
        creator: "admin".parse()?,
        own_expiry: Expiry::Never,
        requested_expiry: Expiry::Never,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
    })
}

/// The token of a page in the middle of the list.
async fn half_way(client: &Client, (workspace, size): (&str, usize)) -> Result<String, Failure> {
    let mut page_token = String::new();
    for _ in 0..(size / 2).div_ceil(1_000) {
        let page_size = i32::try_from((size / 2).min(1_000))?;
        page_token = list(client, workspace, page_size, &page_token).await?.next_page_token;
    }
    Ok(page_token)
}

async fn timed(client: &Client, clock: &Clock, workspace: &str, page_token: &str) -> Result<Duration, Failure> {
    let start = clock.boot_time();
    let page = list(client, workspace, PAGE_SIZE, page_token).await?;
    let took = clock.boot_time().saturating_since(start);
    assert_eq!(page.tokens.len(), usize::try_from(PAGE_SIZE)?, "a whole page");
    Ok(took)
}

async fn list(client: &Client, workspace: &str, page_size: i32, page_token: &str) -> Result<v1::ListTokensResponse, Failure> {
    let request = v1::ListTokensRequest {
        parent: format!("workspaces/{workspace}"),
        filter: String::new(),
        page_size,
        page_token: page_token.to_owned(),
    };
    Ok(client.token_admin().list_tokens(request).await?.into_inner())
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}
