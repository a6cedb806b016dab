//! Filters of lists: a subset of [AIP-160](https://google.aip.dev/160). All lists share one language, and each kind of
//! list has its own fields.
//!
//! ```text
//! expression  = factor { "AND" factor }
//! factor      = term { "OR" term }              OR binds tighter than AND
//! term        = "(" expression ")" | restriction
//! restriction = field operator value
//! ```
//!
//! Fields of tokens:
//!
//! | field | operators | value |
//! |---|---|---|
//! | `state` | `=` `!=` `:` | `ACTIVE`, `EXPIRED`, `REVOKED`, `SUSPENDED`, with or without the prefix `STATE_` |
//! | `scopes` | `=` `:` granted, `!=` not granted | a scope's name |
//! | `labels.KEY` | `=` `:` has that value, `!=` has not | up to 128 characters; `labels.KEY:*` is any value |
//! | `creator` | `=` `!=` `:` | a caller's name |
//! | `create_time` | `=` `!=` `<` `<=` `>` `>=` | a time in RFC 3339, in whole microseconds |
//! | `expire_time` | the same | the same; also `= never`, `!= never` and `expire_time:*`, which is `!= never` |
//! | `last_used_time` | the same | the same |
//! | `unused` | `=` `!=` `:` | `true` if it was never used, `false` |
//! | `resource` | `=` `!=` exactly, `:` at or below | a resource |
//!
//! Fields of audit events; a field without a value is empty (`caller = ""`):
//!
//! | field | operators | value |
//! |---|---|---|
//! | `type` | `=` `!=` exactly, `:` also by subject | a type such as `token.revoked`; a subject such as `token` |
//! | `caller` | `=` `!=` `:` | a caller's name |
//! | `actor` | `=` `!=` `:` | the asserted actor |
//! | `address` | `=` `!=` exactly, `:` also in a network | an IP address; after `:` also a network in CIDR notation |
//! | `resource` | `=` `!=` exactly, `:` at or below | a resource name |
//! | `outcome` | `=` `!=` `:` | `DONE`, `REFUSED`, with or without the prefix `OUTCOME_` |
//! | `reason` | `=` `!=` exactly, `:` contains | up to 500 characters |
//! | `time` | `=` `!=` `<` `<=` `>` `>=` | a time in RFC 3339, in whole microseconds |
//!
//! `!=` is the negation of `=`: `labels.team != web` also matches tokens without that label. An order comparison never
//! matches a token that never expires, or was never used. A value is a word without white space and `( ) < > = ! , "
//! '`, or any text in double or single quotes, in which a backslash escapes a quote or a backslash. There are no
//! wildcards. Keywords are upper-case. White space is needed only around keywords.
//!
//! A filter has at most [`MAX_LEN`](Filter::MAX_LEN) bytes, [`MAX_RESTRICTIONS`](Filter::MAX_RESTRICTIONS) comparisons
//! and [`MAX_DEPTH`](Filter::MAX_DEPTH) nested parentheses, so that parsing and evaluating it is cheap.
//!
//! The lexer and the parser turn text into an [`Expression`] of typed [`Restriction`]s. A printed filter parses to the
//! same expression.

mod event;
mod field;
mod language;
mod lexer;
mod parser;
mod print;
mod restriction;

pub use event::{EventField, EventRestriction};
pub use restriction::{Order, Restriction, Sign};

use crate::{
    time::Timestamp,
    token::usage::Usage,
    token::{Token, TokenContext},
};

/// A filter: it selects the entries of a list that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<R>(Expression<R>);

/// A filter of tokens.
pub type TokenFilter = Filter<Restriction>;

/// A filter of the events in a chain of the audit log.
pub type EventFilter = Filter<EventRestriction>;

/// The expression in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression<R = Restriction> {
    /// Matches if all of these match; at least two.
    All(Vec<Self>),
    /// Matches if any of these matches; at least two.
    Any(Vec<Self>),
    /// A single comparison.
    One(R),
}

/// Why a text is not a filter. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text has too many bytes.
    #[error("must have at most {max} bytes; it has {0}", max = TokenFilter::MAX_LEN)]
    TooLong(usize),
    /// There are too many comparisons.
    #[error(
        "must have at most {max} comparisons; there is one more at character {position}",
        max = TokenFilter::MAX_RESTRICTIONS
    )]
    TooMany {
        /// The position of the first one above the limit.
        position: usize,
    },
    /// Parentheses are nested too deeply.
    #[error(
        "must have at most {max} nested parentheses; there is one more at character {position}",
        max = TokenFilter::MAX_DEPTH
    )]
    TooDeep {
        /// The position of the first one above the limit.
        position: usize,
    },
    /// Something else was expected.
    #[error("is malformed at character {position}: expected {expected}, found {found}")]
    Unexpected {
        /// The position.
        position: usize,
        /// What was expected.
        expected: String,
        /// What was found, quoted.
        found: String,
    },
}

impl<R> Filter<R> {
    /// The most bytes of a filter.
    pub const MAX_LEN: usize = 4_096;
    /// The most comparisons.
    pub const MAX_RESTRICTIONS: usize = 64;
    /// The most nested parentheses.
    pub const MAX_DEPTH: usize = 16;

    /// Returns the expression.
    #[must_use]
    pub const fn expression(&self) -> &Expression<R> {
        &self.0
    }
}

impl TokenFilter {
    /// Returns whether the filter matches `token`, given its usage and its state at `now`.
    #[must_use]
    pub fn matches(&self, token: &Token, usage: Option<&Usage>, token_context: &TokenContext, now: Timestamp) -> bool {
        let (state, expiry) = (token.state(token_context, now), token.expiry(token_context));
        let last_used = usage.map(|usage| usage.last_used_time);
        self.0
            .matches(&|restriction| restriction.matches(token, state, expiry, last_used))
    }
}

impl<R> Expression<R> {
    fn matches(&self, of: &impl Fn(&R) -> bool) -> bool {
        match self {
            Self::All(all) => all.iter().all(|part| part.matches(of)),
            Self::Any(any) => any.iter().any(|part| part.matches(of)),
            Self::One(restriction) => of(restriction),
        }
    }
}
