//! What the program does: its commands, how it starts and how it ends.

mod audit_verify;
mod bulk;
mod cli;
mod core_dumps;
mod dev;
mod full_disk;
mod helpful;
mod init;
mod keyring;
mod migrate;
mod output;
mod policy;
mod private_files;
mod recover;
mod restore;
mod restore_guards;
mod revocations_file;
mod serve;
mod settings;
mod shutdown;
mod slow_connections;
mod sqlite_file;
mod standby;
mod usage;
