//! The properties that the core guarantees, by subject.

mod admission;
mod audit;
mod change;
mod credential;
mod deadlines;
mod event_filter;
mod expiry_notice;
mod filter;
mod keyring;
mod policy;
mod retention;
mod revocation_chain;
mod revocation_record;
mod rotation;
mod row_mac;
mod samples;
mod scopes;
mod token_state;
mod usage;
mod verdict;
mod webhook;
