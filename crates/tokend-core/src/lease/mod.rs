//! The rules by which a server or an SDK may answer from memory, and a revocation nevertheless ends a token everywhere.
//!
//! A lease is a time until which memory may be trusted (Gray and Cheriton, "Leases", SOSP 1989). Whoever answers from
//! memory asks for changes again and again, applies all of them, and then has a lease from the moment at which it
//! *asked*. A change that ends verdicts waits, after its COMMIT, until every lease has ended that was given without
//! knowledge of it. Nobody has to know who holds leases.
//!
//! - [`Slots`] say which entries of memory are outdated. Invalidating raises a slot and touches no entry.
//! - [`Lease`] says until when memory may be trusted.
//! - [`Terms`] say how long leases last and how long changes wait.
//! - [`Subject`] is what a change is about: entries about it, or below it, are outdated.
//!
//! The rules are numbered in `docs/revocation-protocol.md`, and the documentation of `tokend-server`'s verifier argues
//! why they suffice.

mod slots;
mod subject;
mod terms;
mod until;

pub use slots::{SlotKey, Slots};
pub use subject::{MalformedSubject, Subject};
pub use terms::{Terms, TermsOutOfRange};
pub use until::Lease;
