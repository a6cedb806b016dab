//! Stores the tokens of a plan, batch by batch, and goes on where an earlier load stopped.
//!
//! A batch is one transaction with tokens of one workspace. The database counts a workspace's tokens in the same
//! transaction, so this number is the place where to go on, whenever the process was killed. No server may run
//! meanwhile: it may create tokens, and delete those that ended long ago.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokend_core::{
    credential::{Kind, Minted},
    name::TokenName,
    policy::PolicyState,
    workspace::{Workspace, WorkspaceState},
};
use tokend_server::random;
use tokend_store::{Insert, Store, WriteTx};
use tokio::task::JoinSet;

use super::{
    Load,
    life::given_notices,
    mix::Mix,
    plan::{Plan, Planned, workspace_id},
    progress::Progress,
    sample::{SampleFile, Sampled},
};
use crate::BoxError;

/// Workspaces that are created in one transaction.
const WORKSPACES_AT_ONCE: usize = 100;

/// How tokens are stored. This changes nothing about the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Tokens in one transaction.
    pub batch: u64,
    /// Transactions that run at the same time, for tokens of different workspaces.
    pub writers: usize,
    /// Whether the progress is shown on stderr.
    pub is_shown: bool,
}

/// What a load did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loaded {
    /// Tokens in the database, in all workspaces of the plan.
    pub tokens: u64,
    /// Tokens that this load stored.
    pub inserted: u64,
    /// How long this took.
    pub took: Duration,
}

/// What all writers share.
struct Filling {
    store: Store,
    plan: Plan,
    mix: Mix,
    sample: Option<SampleFile>,
    progress: Progress,
    /// The number of tokens that each workspace had at the start.
    stored: Vec<u64>,
    /// The next workspace to fill.
    next: AtomicUsize,
    batch: u64,
}

/// Stores those tokens of the plan that are not stored yet. Returns the sample, too.
///
/// # Errors
/// The tokens can't be stored, or the database has tokens of another plan.
pub async fn fill(
    store: &Store,
    plan: Plan,
    pace: Pace,
    sample: Option<SampleFile>,
) -> Result<(Loaded, Option<SampleFile>), BoxError> {
    create_workspaces(store, &plan).await?;
    let mut stored = Vec::with_capacity(plan.workspaces().len());
    for workspace in plan.workspaces() {
        stored.push(tokens_of(store, workspace, plan.load()).await?);
    }
    let before: u64 = stored.iter().sum();
    let filling = Arc::new(Filling {
        store: store.clone(),
        mix: Mix::new(plan.load().seed)?,
        progress: Progress::new(before, plan.load().tokens, pace.is_shown),
        plan,
        sample,
        stored,
        next: AtomicUsize::new(0),
        batch: pace.batch,
    });
    let mut writers = JoinSet::new();
    for _ in 0..pace.writers {
        writers.spawn(write(Arc::clone(&filling)));
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let (inserted, took) = filling.progress.end();
    let loaded = Loaded {
        tokens: before + inserted,
        inserted,
        took,
    };
    Ok((loaded, Arc::into_inner(filling).and_then(|filling| filling.sample)))
}

/// Returns how many tokens of loads are stored.
///
/// # Errors
/// The database can't be read.
pub async fn stored(store: &Store) -> Result<u64, BoxError> {
    let mut tokens = 0;
    for number in 1_u32.. {
        let Some(page) = store.list_tokens(&workspace_id(number)?, None, 1).await? else {
            break;
        };
        tokens += page.total_size;
    }
    Ok(tokens)
}

/// Creates the workspaces that are missing. They have no policy, and so no limit of active tokens: the largest one may
/// need more than a policy could permit.
async fn create_workspaces(store: &Store, plan: &Plan) -> Result<(), BoxError> {
    let display_name = plan.display_name()?;
    for some in plan.workspaces().chunks(WORKSPACES_AT_ONCE) {
        let (ids, display_name) = (
            some.iter().map(|planned| planned.id.clone()).collect::<Vec<_>>(),
            display_name.clone(),
        );
        let work = async move |tx: &WriteTx| {
            for id in ids {
                let workspace = Workspace {
                    id: id.clone(),
                    display_name: display_name.clone(),
                    organization: None,
                    state: WorkspaceState::Active,
                    create_time: tx.now().await?,
                    policy: PolicyState::default(),
                };
                if tx.insert_workspace(&workspace).await? == Insert::Done {
                    continue;
                }
                let found = tx.lock_workspace(&id).await?.ok_or("a workspace disappeared")?;
                if found.display_name != display_name {
                    return Err(format!(
                        "workspaces/{id} is there already, as \"{}\", and would now be \"{display_name}\": give the \
                         same values, or take an empty database",
                        found.display_name
                    )
                    .into());
                }
            }
            Ok::<_, BoxError>(())
        };
        store.write(work).await?;
    }
    Ok(())
}

/// Returns how many of the workspace's tokens are stored.
async fn tokens_of(store: &Store, workspace: &Planned, load: &Load) -> Result<u64, BoxError> {
    let page = store.list_tokens(&workspace.id, None, 1).await?;
    let stored = page.ok_or("a workspace disappeared")?.total_size;
    if stored > workspace.tokens {
        return Err(format!(
            "workspaces/{} has {stored} tokens already, and would get {} of {}: give at least as many --tokens as \
             before, or take an empty database",
            workspace.id, workspace.tokens, load.tokens
        )
        .into());
    }
    Ok(stored)
}

/// Fills one workspace after the other, until none is left.
async fn write(filling: Arc<Filling>) -> Result<(), BoxError> {
    loop {
        let index = filling.next.fetch_add(1, Ordering::Relaxed);
        let Some(workspace) = filling.plan.workspaces().get(index) else {
            return Ok(());
        };
        let mut next = filling.stored[index];
        while next < workspace.tokens {
            let end = workspace.tokens.min(next + filling.batch);
            let shared = Arc::clone(&filling);
            let batch = async move |tx: &WriteTx| insert(tx, &shared, index, next..end).await;
            filling.store.write(batch).await?;
            filling.progress.add(end - next);
            next = end;
        }
    }
}

/// Inserts the tokens with these numbers in one transaction.
async fn insert(tx: &WriteTx, filling: &Filling, index: usize, numbers: Range<u64>) -> Result<(), BoxError> {
    let workspace = &filling.plan.workspaces()[index];
    let mut picked = filling.plan.sampled(workspace, numbers.clone()).peekable();
    let (ring, now, mut sampled) = (filling.store.keys(), tx.now().await?, Vec::new());
    for number in numbers {
        let Minted { id, secret, digest } = random::mint(&ring, Kind::WorkspaceToken)?;
        let name = TokenName {
            workspace: workspace.id.clone(),
            id,
        };
        let token = filling.mix.draft(workspace, number)?.token(name, digest, now)?;
        if tx.insert_token(&token).await? != Insert::Done {
            return Err(format!("{} is there already: the random source repeats itself", token.name).into());
        }
        if let Some([stored, given]) = given_notices(&token, now)
            && !tx.set_notice_state(id, Some(stored), given).await?
        {
            return Err(format!("the notices of {} are not as they were just stored", token.name).into());
        }
        if picked.next_if_eq(&number).is_some() {
            sampled.push(Sampled::of(&token, secret, now));
        }
    }
    match &filling.sample {
        Some(sample) => sample.append(&sampled),
        None => Ok(()),
    }
}
