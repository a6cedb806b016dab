//! The audit log: who did what, to what, from where, in chains that nobody can edit unnoticed.
//!
//! Each workspace has a chain of its own, and the installation one (`-`) for what belongs to no workspace: callers, their keys, the
//! making of workspaces, refused calls. Flow: an [`Event`] is what a use case says happened; appended, it becomes a [`Record`]: it
//! gets a sequence number without gaps, the hash of the record before it, and a keyed BLAKE3 hash over everything, that one
//! included. The chain's [`Head`] says where it ends, and carries a MAC, so that the last records can't be cut off either. A
//! [`Checkpoint`] says the same of an earlier moment and leaves the database, so that an older copy of it can't be put back.
//!
//! The keys are the audit subkeys of the [key ring](crate::keyring). Every record names the one it was made with, which outlives
//! that key's use for signing. After B. Schneier and J. Kelsey, "Secure Audit Logs to Support Computer Forensics" (1999), without
//! their evolving keys: who has the ring can write any chain.
//!
//! - [`Event`], [`Origin`], [`EventType`], [`Outcome`]: what is said.
//! - [`Record`], [`Head`]: what is stored.
//! - [`Checkpoint`]: what leaves.
//! - [`Walk`], [`Break`]: whether it is whole.

mod chain;
mod checkpoint;
mod event;
mod hash;
mod key;
mod record;
mod walk;
mod words;

pub use chain::{Chain, Head};
pub use checkpoint::{Checkpoint, MalformedCheckpoint};
pub use event::{Actor, Event, MalformedActor, Origin, RowAfter, known_part_of_name};
pub use hash::{ChainHash, MalformedHash};
pub use key::RowDigest;
pub use record::{Place, Record};
pub use walk::{Break, Walk};
pub use words::{EventType, Outcome};
