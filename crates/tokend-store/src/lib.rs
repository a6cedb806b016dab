//! Where tokens, workspaces and callers are kept: SQLite for one server, PostgreSQL 15 or later for several.
//!
//! One concrete [`Store`] serves both. A call goes: [`Store`] method -> a lane (`lane`), which has its own runtime (`home`) -> one statement, or one
//! transaction of a closure's making ([`Store::write`]) -> rows (`entity`) -> domain types (`row`). Three things hold everywhere:
//!
//! - **Nothing unchecked comes out.** Every row is converted to its `tokend-core` type and its MAC compared before anyone sees it.
//!   A row that fails is an error that names it; it never panics and never hides its neighbours in a list.
//! - **A dropped caller cancels no change.** The work runs in a task of its own, on a runtime that outlives the servers'. Only lists and
//!   other reads that may look at many rows end with their caller.
//! - **Time is the database's.** PostgreSQL's clock, read in the statement that needs it; on SQLite the machine's, held at or above
//!   the last time stored.
//!
//! In reading order: [`settings`](Settings), `store`, `lane`, `home`, `pool`, `read`, `narrowing`, `write_ahead_log`, `write`, `row`, `entity`,
//! `keys`, `checkpoint`, `outbox`, `verify`, `installation`, `feed`, `database`, `schema`.

mod checkpoint;
mod database;
mod entity;
mod error;
mod event_narrowing;
mod feed;
mod home;
mod installation;
mod keys;
mod lane;
mod narrowing;
mod open_error;
mod outbox;
mod pool;
mod read;
mod row;
mod schema;
mod settings;
mod store;
mod verify;
mod write;
mod write_ahead_log;

pub use database::{is_in_use, leftover_log};
pub use error::StoreError;
pub use feed::FeedProblem;
pub use installation::{AlreadyInitialized, InitializeError, NewInstallation};
pub use keys::StoredKey;
pub use open_error::OpenError;
pub use outbox::{Backlog, Claim};
pub use read::{
    Affected, CallerKeyPage, CallerNow, CallerPage, CallerRef, DueKeys, DuePlace, DueTokens, Edit, EndedBy, Governed, MAX_COUNTED,
    MAX_COUNTED_AMONG, MAX_EXAMINED, MAX_EXAMINED_RECORDS, OrganizationPage, PresentedCallerKey, PresentedCertificate,
    PresentedToken, RecordPage, StoredEnding, StoredToken, StoredWorkspace, TimeCursor, TokenPage, TokenPlace, WorkspacePage,
    unreadable_policy,
};
pub use schema::{SchemaStatus, migrate, schema_status};
pub use settings::Settings;
pub use store::Store;
pub use verify::{AuditReport, Finding, RowProblem};
pub use write::{
    CallerHold, Duty, Insert, LiveCredentials, Locked, Noted, RecordedRequest, Renewed, RequestKey, RowPlace, SealedTable, Work,
    WriteTx,
};
