//! Operating the service: making an installation, serving it, keeping its schema and its keys up to date.

pub(crate) mod audit;
pub(crate) mod dev;
pub(crate) mod init;
pub(crate) mod keyring;
pub(crate) mod migrate;
pub(crate) mod revocations;
pub(crate) mod serve;

mod config;
mod files;
mod limits;
mod logging;
mod ready_file;
mod stop;
mod storage;
mod tls;
mod webhook;
