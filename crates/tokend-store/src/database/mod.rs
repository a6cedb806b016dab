//! SQLite and PostgreSQL: the URL, opening and migrating, and single connections.

mod checks;
mod connection;
mod host;
mod pooler;
mod postgres;
mod sqlite;
mod target;
mod url;

pub(crate) use checks::Purpose;
pub(crate) use connection::Connection;
pub(crate) use target::{Target, connections, open};
pub use target::{is_in_use, leftover_log, migrate, schema_status};
