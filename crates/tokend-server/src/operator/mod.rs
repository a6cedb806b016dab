//! The work of people at the machine: installing, recovering, restoring, and changing keys.

pub mod installation;
pub mod keyring_file;
pub mod keyring_life;
pub mod recovery;
pub mod restore;
