//! What the program does: its commands, how it starts and how it ends.

mod audit_verify;
mod bulk;
mod cli;
mod core_dumps;
mod dev;
mod init;
mod keyring;
mod migrate;
mod policy;
mod recover;
mod restore;
mod restore_guards;
mod revocations_file;
mod serve;
mod shutdown;
mod usage;
