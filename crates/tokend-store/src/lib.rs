//! Stores tokens, workspaces and callers in SQLite (one server) or PostgreSQL 15 or later (several servers).
//!
//! One concrete [`Store`] serves both databases. A call goes: [`Store`] method -> work pool, which has its own runtime
//! and connections -> one statement, or one transaction of a closure ([`Store::write`]) -> rows -> domain types. Three
//! rules hold everywhere:
//!
//! - **Only verified rows leave the crate.** Every sealed row is converted to its `tokend-core` type and its MAC is
//!   compared before anyone sees it. A row that fails is an error that names it. It never panics and never hides its
//!   neighbours in a list.
//! - **A dropped caller cancels no change.** The work runs in a task of its own, on a runtime that outlives the
//!   servers'. Only lists and other reads of many rows end with their caller.
//! - **Time is the database's.** On PostgreSQL it is the server's clock, read in the statement that needs it. On SQLite
//!   it is the machine's clock, but never less than the last time stored.
//!
//! Each layer uses only the layers before it:
//!
//! 1. `error`, [`settings`](StoreSettings), `runtime`, `schema`
//! 2. `database`: the URL, opening and migrating, single connections
//! 3. `pool`: pooled connections, transactions, permits to write
//! 4. `row`: sealed rows, columns, paging, filters
//! 5. `shared`, `work_pool`, `store`: the store handle and where its work runs
//! 6. `transaction`: writes
//! 7. The subjects, each with its tables, rows, reads, writes and filters: `tokens`, `workspaces` (with organizations
//!    and policies), `callers`, `audit`, `feed`, `revocations`, `outbox`, `keys`, `requests`, `usage`, `notices`,
//!    `jobs`
//! 8. `installation`, `opening`, `replication`: initializing and opening a store, and what a failover would do to it

mod audit;
mod callers;
mod database;
mod error;
mod feed;
mod installation;
mod jobs;
mod keys;
mod notices;
mod opening;
mod outbox;
mod pool;
mod replication;
mod requests;
mod revocations;
mod row;
mod runtime;
mod schema;
mod settings;
mod shared;
mod store;
mod tokens;
mod transaction;
mod usage;
mod work_pool;
mod workspaces;

pub use audit::{
    filtered::MAX_EXAMINED_RECORDS,
    reads::RecordPage,
    verify::{AuditReport, Finding, RowProblem},
};
pub use callers::{
    current::{CallerHold, CallerRef, CurrentCaller},
    reads::{CallerKeyPage, CallerPage},
    snapshots::{CallerKeySnapshot, CertificateSnapshot},
};
pub use database::{is_in_use, leftover_log, migrate, schema_status};
pub use error::{FaultId, FeedProblem, OpenError, PoolerProblem, StoreError};
pub use feed::{
    poll::FeedPage,
    terms::{LeaseChange, LowerLeaseError, SetLeaseError},
};
pub use installation::initialize::{AlreadyInitialized, InitializeError, NewInstallation};
pub use jobs::Job;
pub use keys::{
    current::KeysInUse,
    live_credentials::LiveCredentials,
    reseal::{Resealed, RowCursor, SealedTable},
    row::StoredKey,
};
pub use notices::{
    ended_tokens::EndCause,
    reads::{DueCursor, DueKeys, DueTokens},
    writes::NoticeState,
};
pub use outbox::messages::{Backlog, Claim};
pub use replication::Replication;
pub use requests::writes::{RecordedRequest, RequestKey};
pub use revocations::reads::StoredRevocation;
pub use row::{Locked, TimeCursor};
pub use schema::SchemaStatus;
pub use settings::StoreSettings;
pub use store::Store;
pub use tokens::{
    filtered::{MAX_COUNTED, MAX_COUNTED_AMONG, MAX_EXAMINED, TokenCursor},
    reads::{StoredToken, TokenPage},
    snapshot::TokenSnapshot,
};
pub use transaction::{CommitObserver, Committed, Insert, Work, WriteTx};
pub use workspaces::{
    organization_reads::OrganizationPage,
    policy_impact::{DeadlineChange, PolicyImpact},
    reads::{StoredWorkspace, WorkspacePage},
    with_policy::{WorkspaceWithPolicy, unreadable_policy},
    writes::LockAttempt,
};
