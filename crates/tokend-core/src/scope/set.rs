const WORDS: usize = 4;

/// A set of scopes of one catalog, with a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet([u64; WORDS]);

impl ScopeSet {
    /// The most scopes that a catalog can have.
    pub const CAPACITY: usize = WORDS * u64::BITS as usize;

    /// The empty set.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Adds the scope with this index, which must be below [`ScopeSet::CAPACITY`].
    pub(crate) const fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(crate) const fn contains(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    /// Returns the scopes that are in either set.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// Returns the scopes of this set that are not in `other`.
    #[must_use]
    pub fn difference(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Returns whether every scope of this set is in `other`.
    #[must_use]
    pub fn is_subset(self, other: Self) -> bool {
        self.difference(other).is_empty()
    }
}
