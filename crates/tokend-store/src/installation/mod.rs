//! The installation: creating it, updating one of an older version, and checking that it exists.

pub(crate) mod initialize;
pub(crate) mod tables;
