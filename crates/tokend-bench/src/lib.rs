//! Benchmarks of tokend: the subcommands of `tokend-bench`.
//!
//! - [`verify`]: what a Verify costs, relative to empty calls.
//! - [`batch`]: how many verdicts a second BatchVerify gives, relative to Verify.
//! - [`guard`]: how long the SDK's guard takes for a request that its cache answers.
//! - [`instructions`]: how many instructions a Verify takes.
//! - [`memory`]: how much memory a cached token takes.
//! - [`page_cost`]: what a page of `ListTokens` costs in a small and in a large workspace.
//! - [`bulk_revocation`]: how long it takes to revoke 100,000 tokens by filter, and how much this slows down others.
//! - [`load`]: fills the database of an installation with many tokens.
//! - [`scale`]: what many stored tokens cost: a Verify, a start, memory.
//! - [`promise`]: how soon a revocation holds everywhere, and what that costs.
//!
//! They compare what was measured side by side in one run, never times of different runs.

pub mod batch;
pub mod bulk_revocation;
pub mod guard;
pub mod instructions;
pub mod load;
pub mod memory;
pub mod page_cost;
pub mod promise;
pub mod scale;
pub mod verify;

pub mod driver;
pub mod floor;
pub mod servers;

pub mod cpu;
pub mod durations;
pub mod installation;
pub mod machine;
pub mod statistics;
pub mod tokens;

/// Any error. A benchmark stops at the first one.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
