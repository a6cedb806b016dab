//! What people and orchestrators see of a running server: metrics, health, the ids and spans of requests in the log,
//! and the record of refused calls.

pub mod panics;

pub(crate) mod counters;
pub(crate) mod health;
pub(crate) mod latency;
pub(crate) mod metrics;
pub(crate) mod ops;
pub(crate) mod refusal_record;
pub(crate) mod request_id;
pub(crate) mod request_span;
pub(crate) mod striped;
