//! A checked model of the protocol by which a revocation holds on every server and SDK when its answer leaves.
//!
//! **The guarantee**: a Verify that starts after the response to a change said "dead" never allows. Servers and SDKs
//! nevertheless answer from memory. They do so under leases, after Gray and Cheriton, "Leases: an efficient
//! fault-tolerant mechanism for distributed file cache consistency" (SOSP 1989): a writer that waits as long as the
//! longest lease runs does not need to know the holders of leases.
//!
//! [`Rule`] lists the rules with their numbers. The checker, stateright, searches every order of steps in small
//! scenarios. The guarantee must hold in those of [`small`] and [`large`]; in that of [`without`] it must not, because
//! one rule is left out.
//!
//! # The protocol
//!
//! *Writing (W).* A change is one transaction. Its last statement takes the next revision and appends a feed row, which
//! names what to invalidate. The feed's lock ensures that revisions have the order of commits. A COMMIT of unknown
//! outcome is an error to the caller.
//!
//! *Waiting (C).* An answer that something is dead is sent `wait` and a margin after its COMMIT was acknowledged.
//! This is so for repeats, too. A call with `no_wait` answers immediately, and guarantees something only to callers
//! that name its revision.
//!
//! *Polling (L).* Each server polls the feed. A poll that started at t lets it answer from memory until t + `grant`,
//! once every row up to the poll's head is applied; `grant` never exceeds `wait`. A new epoch, or missing rows, reset
//! the whole memory.
//!
//! *Verify (V).* A slot holds the revision of the last change of a token or of what it depends on, an entry that of the
//! snapshot from which it was filled. Memory allows only while the lease runs and the entry is not older than its slot
//! and of its epoch. Otherwise the server reads the primary, and if that fails it answers UNAVAILABLE.
//!
//! *Embedded.* One process on SQLite invalidates its memory itself, whatever COMMIT answered. Its answers wait only for
//! the leases that it gave to SDKs.
//!
//! *Watch (S).* A server forwards invalidations to SDKs. An SDK's lease begins when it sent the ping that a pong names,
//! and ends with the server's. It has slots like a server, and refuses answers that are older. A client without Watch
//! may keep an answer for `cacheable_for`, at most the rest of the server's lease, counted from when it sent its
//! request.
//!
//! # What the model leaves out, and why this is sound
//!
//! - Time is a counter of ticks, relative to now, so that runs have no end and states are finitely many. Clocks drift
//!   as much as the margin allows, at the worst moment: leases run that much longer than their holders believe.
//! - Messages take any time. Links break and servers restart at any moment. Fills come from any older snapshot.
//! - Only a Verify that starts after the answer is modelled. Earlier ones may allow.
//! - There is one token. Its workspace, organization, policies and caller have slots of the same kind; a change of
//!   something else matters by its revision and its place in queues. Slots that collide by their hash only cause
//!   misses.
//! - Revocations that share a transaction (W3) share its revision and its wait: they are one change.
//! - There are at most two servers, three calls and one SDK, and one promotion or restore. More of the same is not
//!   checked.
//! - Rules about progress and cost have no part in the guarantee: W4, C3, the deadlines of L3, and that absence is not
//!   cached (V2).
//! - Expiry, the key ring and the seals of rows are not modelled, nor are hypervisor pauses beyond the margin.
//! - V1's second look at a server's lease, and S2's new authentication at each pong, guard what the model has already:
//!   no scenario needs them.
//! - Early acknowledgement, by which an answer would leave once every holder of a lease has confirmed, is not built.

mod apply;
mod cases;
mod check;
mod client;
mod database;
mod embedded;
mod lease_change;
mod memory;
mod property;
mod protocol;
mod rule;
mod scenario;
mod sdk;
mod server;
mod time;
mod verify;
mod watch;
mod writer;

pub use cases::{Case, large, repeats_that_only_read, small, without};
pub use check::{Limits, Outcome, Report, check};
pub use rule::Rule;
