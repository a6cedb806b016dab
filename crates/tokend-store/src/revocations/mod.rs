//! The stored revocation records, one line each, in the order of commits.

pub(crate) mod reads;
pub(crate) mod tables;
pub(crate) mod writes;
