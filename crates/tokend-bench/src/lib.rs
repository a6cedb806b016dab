//! tokend's benchmarks: an empty gRPC server as the floor, a load driver, and criterion benches.
//!
//! A stub: they come with the work on performance. Until then there is nothing to measure here, and no figure in the docs.
