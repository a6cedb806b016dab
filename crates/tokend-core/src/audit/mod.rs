//! The audit log: who did what, to what and from where, in chains of records in which every later edit is detected.
//!
//! Each workspace has a chain. The installation's chain (`-`) holds what belongs to no workspace: callers and their
//! keys, the creation of workspaces, and refused calls.
//!
//! A use case reports an [`Event`]. Appended to its chain it becomes a [`Record`], with a sequence number without gaps,
//! the hash of the previous record, and a keyed BLAKE3 hash over all of that. The chain's [`Head`] says where the chain
//! ends and carries a MAC, so that cutting off the last records is detected. A [`Checkpoint`] holds the state at one
//! moment and is kept outside the database, so that restoring an older copy is detected. [`ChainVerifier`] checks a
//! whole chain and reports the first [`ChainError`].
//!
//! The hashes use the audit subkeys of the [key ring](crate::keyring). Every record names its key, and the subkey stays
//! in use for verification after the key is retired. The design follows B. Schneier and J. Kelsey, "Secure Audit Logs
//! to Support Computer Forensics" (1999), without their evolving keys: whoever has the key ring can write any chain.

mod chain;
mod checkpoint;
mod event;
mod event_type;
mod hash;
mod record;
mod verifier;

pub use chain::{Chain, Head};
pub use checkpoint::{Checkpoint, MalformedCheckpoint};
pub use event::{Actor, Event, MalformedActor, Origin, RowAfter, known_name_prefix};
pub use event_type::{EventType, Outcome};
pub use hash::{ChainHash, MalformedHash, RowDigest};
pub use record::{Place, Record};
pub use verifier::{ChainError, ChainVerifier};
