//! Revisions: where in the order of changes an answer stands.

/// A position in the order of all changes. Within an epoch numbers grow by one with each change, in commit order; a restored or
/// failed-over database starts a new epoch, and positions of different epochs can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// Which history of the database this is.
    pub epoch: u64,
    /// How many changes that history had seen.
    pub number: u64,
}
