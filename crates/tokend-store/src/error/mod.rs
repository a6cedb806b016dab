//! Errors of the store, and the one place that knows the errors of the database drivers.

pub(crate) mod driver_error;
mod open_error;
mod store_error;

pub use open_error::{FeedProblem, OpenError, PoolerProblem};
pub(crate) use store_error::Closed;
pub use store_error::{FaultId, StoreError};
