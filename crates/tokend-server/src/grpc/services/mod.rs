//! The services of the contract. Each handler converts the message, calls a use case, and converts its result.

pub(crate) mod audit_log;
pub(crate) mod caller_admin;
pub(crate) mod token_admin;
pub(crate) mod token_verify;
pub(crate) mod workspace_admin;
