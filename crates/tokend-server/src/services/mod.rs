//! The contract's services: each handler takes a message, asks a use case, and gives a message back.

pub(crate) mod audit_log;
pub(crate) mod caller_admin;
pub(crate) mod token_admin;
pub(crate) mod token_verify;
pub(crate) mod workspace_admin;
