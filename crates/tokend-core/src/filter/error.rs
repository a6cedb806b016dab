use super::TokenFilter;

/// Why a text is no filter. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Too many bytes.
    #[error("must have {max} bytes at most, it has {0}", max = TokenFilter::MAX_LEN)]
    TooLong(usize),
    /// Too many restrictions.
    #[error("must have {max} comparisons at most; at character {position} stands one more", max = TokenFilter::MAX_RESTRICTIONS)]
    TooMany {
        /// Where the first of those beyond stands.
        position: usize,
    },
    /// Too many parentheses one in another.
    #[error("must have {max} parentheses one in another at most; at character {position} opens one more", max = TokenFilter::MAX_DEPTH)]
    TooDeep {
        /// Where the first of those beyond stands.
        position: usize,
    },
    /// Something else stands where this should.
    #[error("is malformed at character {position}: expected {expected}, found {found}")]
    Unexpected {
        /// Where it stands.
        position: usize,
        /// What would be right there.
        expected: String,
        /// What is there, quoted.
        found: String,
    },
}
