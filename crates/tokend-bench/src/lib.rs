//! Benchmarks of tokend. They compare durations that were measured side by side in one run.
//!
//! - `page-cost`: what a page of `ListTokens` costs in a small and in a large workspace.
//! - `bulk-revocation`: how long it takes to revoke 100,000 tokens by filter, and how much this slows down others.
//! - `promise`: how soon a revocation holds everywhere, and what that costs.
//!
//! A baseline server, a load generator and criterion benchmarks are planned.

pub mod durations;
pub mod installation;
pub mod promise;
pub mod tokens;

/// Any error. A benchmark stops at the first one.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
