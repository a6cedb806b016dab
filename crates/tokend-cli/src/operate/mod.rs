//! Commands that operate the service: they create an installation, serve it, and maintain its schema and keys.

pub(crate) mod audit;
pub(crate) mod dev;
pub(crate) mod init;
pub(crate) mod keyring;
pub(crate) mod lease;
pub(crate) mod migrate;
pub(crate) mod revocations;
pub(crate) mod serve;

mod config;
mod limits;
mod logging;
mod ready_file;
mod storage;
mod tls;
mod webhook;
