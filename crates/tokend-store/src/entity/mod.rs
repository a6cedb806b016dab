//! The tables as sea-orm sees them: plain columns, no meaning. Models never leave the crate; `row` gives them meaning.
//!
//! Times are microseconds since the Unix epoch, ids and digests bytes.

#![expect(unreachable_pub, reason = "sea-orm's derive macros make public items; this module is private")]

pub(crate) mod audit_chains;
pub(crate) mod audit_checkpoints;
pub(crate) mod audit_events;
pub(crate) mod caller_certificate_sans;
pub(crate) mod caller_key_notices;
pub(crate) mod caller_key_usage;
pub(crate) mod caller_keys;
pub(crate) mod callers;
pub(crate) mod endings;
pub(crate) mod feed;
pub(crate) mod installation;
pub(crate) mod keyring_keys;
pub(crate) mod notice_plans;
pub(crate) mod organizations;
pub(crate) mod request_ids;
pub(crate) mod token_notices;
pub(crate) mod token_usage;
pub(crate) mod tokens;
pub(crate) mod webhook_outbox;
pub(crate) mod workspaces;
