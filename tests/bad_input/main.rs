//! The bad-input matrix: every field of every request, with what does not fit it and with the last values that do.
//!
//! A [`Case`](case::Case) is one row: a request and what has to come of it. Each file below lists the rows of one service or request
//! and how what was accepted is read back; [`wire`] makes the rows of encodings that are no message from the contract's descriptors.
//! [`run`](run::run) sends the rows of a file one after the other to one server, and holds every refusal to the same rules: code,
//! reason, fields, one short printable line, no secret in it, and nothing stored. [`coverage`] fails if a field of a request has no
//! rows of some kind.
//!
//! A server and a database serve all rows of a file: refused ones leave no trace, which is what is being tested.

mod case;
mod coverage;
mod database;
mod descriptors;
mod hostile;
mod refusal;
mod run;
mod values;
mod wire;

mod audit_log;
mod bulk;
mod callers;
mod create_token;
mod filters;
mod leaks;
mod names;
mod organizations;
mod paging;
mod pasted;
mod policies;
mod presented;
mod rotate_token;
mod sizes;
mod verify;
mod workspace_states;
mod workspaces;
