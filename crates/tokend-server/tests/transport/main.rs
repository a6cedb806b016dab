//! The transport against peers that behave and peers that do not: over real sockets, with deadlines shortened.
//!
//! A test that waits for a thing to happen does so under [`support::soon`]; a lower bound on time is asserted only where the
//! bound is the promise.

mod closing;
mod limits;
mod opening;
mod peer;
mod support;
