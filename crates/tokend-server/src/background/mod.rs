//! Work that no request waits for: jobs, which one `supervisor` runs.
//!
//! Each job implements `BackgroundJob`. The server adds it to the supervisor with the phase of the shutdown in which it
//! stops.

pub mod audit_checkpoints;
pub mod retention;
pub mod revocations_file;
pub mod webhook;

pub(crate) mod adapters;
pub(crate) mod audit_retention;
pub(crate) mod expiry_notices;
pub(crate) mod keyring;
pub(crate) mod replication;
pub(crate) mod supervisor;
pub(crate) mod usage_flush;

mod batch_runner;
mod caller_key_expiry;
mod interval;
