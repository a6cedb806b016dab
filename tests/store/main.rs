//! The store's promises, the same on SQLite and on PostgreSQL.

mod support;

mod acting;
mod affected;
mod audit;
mod audit_filters;
mod audit_tampering;
mod closing;
mod concurrency;
mod feed;
mod filters;
mod heavy_filters;
mod keys;
mod lanes;
mod lists;
mod notices;
mod opening;
mod outbox;
mod requests;
mod retention;
mod round_trip;
mod tampering;
mod time;
mod transactions;
mod usage;
mod working_tokens;
mod writing;
