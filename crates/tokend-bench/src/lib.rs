//! tokend's benchmarks. Figures are ratios measured side by side in one run.
//!
//! - `page-cost`: what a page of `ListTokens` costs in a small and in a large workspace.
//!
//! An empty server as the floor, a load driver and criterion benches come with the work on performance.
