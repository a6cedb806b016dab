//! Validated requests: one module for each service, and one for each large subject of a service.

pub mod audit_log;
pub mod bulk;
pub mod caller_admin;
pub mod leaks;
pub mod organizations;
pub mod page;
pub mod policies;
pub mod rotate_token;
pub mod token_admin;
pub mod token_verify;
pub mod watch;
pub mod workspace_admin;
