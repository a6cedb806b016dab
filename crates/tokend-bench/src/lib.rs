//! tokend's benchmarks. Figures are ratios measured side by side in one run.
//!
//! - `page-cost`: what a page of `ListTokens` costs in a small and in a large workspace.
//! - `bulk-revocation`: 100,000 tokens are revoked by a filter, and what other workspaces notice of it.
//!
//! An empty server as the floor, a load driver and criterion benches come with the work on performance.

pub mod figures;
pub mod filling;
pub mod installation;

/// Whatever went wrong: a measurement that can't be made is given up.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
