//! Notices of the expiry of tokens and caller keys.

pub(crate) mod caller_keys;
pub(crate) mod ended_tokens;
pub(crate) mod plans;
pub(crate) mod reads;
pub(crate) mod tables;
pub(crate) mod writes;
