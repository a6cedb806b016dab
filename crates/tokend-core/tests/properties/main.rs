//! What the core promises, one file for each subject.

mod admission;
mod audit;
mod credential;
mod deadlines;
mod ending;
mod ending_chain;
mod event_filter;
mod expiry_notice;
mod filter;
mod keyring;
mod policy;
mod retention;
mod rotation;
mod row_mac;
mod samples;
mod scopes;
mod token_state;
mod usage;
mod verdict;
mod webhook;
