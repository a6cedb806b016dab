//! What the service answers, one file for each RPC or promise. Each test has a server process and a database of its own.

mod audit_events;
mod audit_log;
mod authentication;
mod batch_verify;
mod caller_admin;
mod clock_set_back;
mod create_token;
mod create_workspace;
mod expiry;
mod foreign_workspaces;
mod framework_errors;
mod get_token;
mod get_workspace;
mod health;
mod identify_token;
mod last_admin;
mod list_scopes;
mod list_tokens;
mod list_workspaces;
mod reflection;
mod replicas;
mod revoke_token;
mod roles;
mod secrets_stay_secret;
mod tampered_rows;
mod verify;
