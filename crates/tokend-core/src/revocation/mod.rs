//! The revocations file: a record of every revocation, kept outside the database, from which a restored backup learns
//! what it must not revive.
//!
//! Changes of a workspace's state and of a policy are recorded too, so that suspended workspaces stay suspended and
//! tokens that a policy has expired stay expired. Of several records about the same workspace or policy the last one
//! counts.
//!
//! Each record is a line of JSON with a MAC over all other fields. The positions of lines grow by one without a gap, so
//! that a missing line is detected. Lines that are missing at the end can't be detected.

mod chain;
mod line;
mod record;
mod text;

pub use chain::{Gap, NotContinued, RevocationChain, RevocationLine};
pub use line::RevocationLineError;
pub use record::{Place, RevocationRecord};
