//! The transport serves well-behaved peers and withstands others. The tests use real sockets and short deadlines.
//!
//! A test that waits for an event uses [`support::soon`]. A test asserts a lower bound on time only if the bound is
//! what the transport guarantees.

mod closing;
mod limits;
mod opening;
mod peer;
mod support;
