//! The store's promises, the same on SQLite and on PostgreSQL.

mod support;

mod acting;
mod affected;
mod audit;
mod audit_filters;
mod audit_tampering;
mod changes;
mod closing;
mod concurrency;
mod failed_writes;
mod feed;
mod filters;
mod heavy_filters;
mod keys;
mod lanes;
mod lists;
mod live_credentials;
mod notices;
mod old_schemas;
mod opening;
mod opening_postgres;
mod outbox;
mod poolers;
mod random_tampering;
mod requests;
mod round_trip;
mod schema;
mod tampering;
mod time;
mod transactions;
mod usage;
mod working_tokens;
mod writing;

use support::run_test;
