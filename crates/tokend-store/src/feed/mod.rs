//! The change feed: its row, which has the revision of the installation, the terms of leases and the time floor; an
//! entry for each revision; the poll that reads both; and the check of the row when a server starts.

pub(crate) mod check;
pub(crate) mod poll;
pub(crate) mod row;
pub(crate) mod tables;
pub(crate) mod terms;
pub(crate) mod time_floor;
pub(crate) mod timeline;
pub(crate) mod writes;
