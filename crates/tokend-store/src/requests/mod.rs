//! Completed requests by request id, so that a repeated request returns the first result.

pub(crate) mod tables;
pub(crate) mod writes;
