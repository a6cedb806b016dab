//! The bad-input matrix: every field of every request, with invalid values and with the valid values at the limits.
//!
//! A [`Case`](case::Case) is one row: a request and its expected outcome. Each file below lists the rows of one service
//! or request, and reads the accepted ones back. [`wire`] builds rows of bytes that do not decode from the contract's
//! descriptors. [`run`](run::run) sends the rows of a file one after the other to one server, and checks every refusal
//! by the same rules: code, reason, fields, one short printable line, no secret in it, and nothing stored.
//! [`coverage`] fails if a request field lacks rows of some kind.
//!
//! The rows of a file share a server and a database. This is part of the test: refused rows must leave no trace.

mod case;
mod coverage;
mod database;
mod descriptors;
mod good_request;
mod hostile;
mod refusal;
mod run;
mod values;
mod wire;

mod audit_log;
mod bulk;
mod caller_keys;
mod callers;
mod certificate_sans;
mod create_token;
mod filters;
mod leaks;
mod names;
mod names_read_back;
mod organizations;
mod page_tokens;
mod paging;
mod pasted;
mod policies;
mod policy_lifetimes;
mod policy_selections;
mod presented;
mod rotate_token;
mod sizes;
mod verify;
mod watch;
mod workspace_states;
mod workspaces;

tokend_tests::define_run_test!();
