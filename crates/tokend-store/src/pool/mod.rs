//! Connections that are reused, and the transactions that run on them.
//!
//! Three rules make a pooled connection trustworthy:
//!
//! - **It is returned, or it is closed.** A connection is returned to the pool only when it is known to work and to be
//!   outside of a transaction. In every other case (an error, a panic, a dropped future) its [`lease`] closes it.
//! - **It leads to a server that accepts writes.** A connection is checked when it is opened, and when it was unused
//!   for more than a second. When one connection turns out to lead to another server, every pool replaces all
//!   connections that were opened before.
//! - **It is opened in the background.** A call waits a short time for a connection. Opening one may take longer, and
//!   goes on when the call has given up.
//!
//! The layers, from the bottom: `connections` (which ones exist), `lease` (one in use), `transaction`,
//! `connection_pool` (what the rest of the crate uses).

mod connection_pool;
mod connections;
mod lease;
mod transaction;
mod warnings;
mod write_ahead_log;
mod write_permits;

pub(crate) use connection_pool::ConnectionPool;
pub(crate) use transaction::{Begin, Transaction};
pub(crate) use write_ahead_log::WriteAheadLog;
pub(crate) use write_permits::{WritePermit, WritePermits};
