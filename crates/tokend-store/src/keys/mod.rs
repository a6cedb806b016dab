//! The keys of the installation: the ring in use, the table of keys, their states, and sealing rows again.

pub(crate) mod current;
pub(crate) mod live_credentials;
pub(crate) mod reads;
pub(crate) mod reseal;
pub(crate) mod row;
pub(crate) mod tables;
pub(crate) mod writes;
