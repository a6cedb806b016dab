//! Filters of lists: a small subset of [AIP-160](https://google.aip.dev/160). There is one language, and for each kind of list the fields
//! that it can ask for.
//!
//! ```text
//! expression  = factor { "AND" factor }
//! factor      = term { "OR" term }              OR binds tighter than AND
//! term        = "(" expression ")" | restriction
//! restriction = field operator value
//! ```
//!
//! Of tokens:
//!
//! | field | operators | value |
//! |---|---|---|
//! | `state` | `=` `!=` `:` | `ACTIVE`, `EXPIRED`, `REVOKED`, `SUSPENDED`, with or without `STATE_` before it |
//! | `scopes` | `=` `:` granted, `!=` not granted | a scope's name |
//! | `labels.KEY` | `=` `:` has that value, `!=` has not | up to 128 characters; `labels.KEY:*` is any value |
//! | `creator` | `=` `!=` `:` | a caller's name |
//! | `create_time` | `=` `!=` `<` `<=` `>` `>=` | a time in RFC 3339, in whole microseconds |
//! | `expire_time` | the same | likewise; `= never`, `!= never` and `expire_time:*`, which is `!= never` |
//! | `last_used_time` | the same | likewise |
//! | `unused` | `=` `!=` `:` | `true` if it was never used, `false` |
//! | `resource` | `=` `!=` exactly, `:` at or below | a resource |
//!
//! Of the audit log's events, whose fields are empty (`caller = ""`) where there is nothing:
//!
//! | field | operators | value |
//! |---|---|---|
//! | `type` | `=` `!=` exactly, `:` that or about that | a type such as `token.revoked`; after `:` also what it is about, `token` |
//! | `caller` | `=` `!=` `:` | a caller's name |
//! | `actor` | `=` `!=` `:` | what a caller asserted |
//! | `address` | `=` `!=` exactly, `:` that or in that | an IP address; after `:` also a network in CIDR notation |
//! | `resource` | `=` `!=` exactly, `:` at or below | a resource name |
//! | `outcome` | `=` `!=` `:` | `DONE`, `REFUSED`, with or without `OUTCOME_` before it |
//! | `reason` | `=` `!=` exactly, `:` has that somewhere | up to 500 characters |
//! | `time` | `=` `!=` `<` `<=` `>` `>=` | a time in RFC 3339, in whole microseconds |
//!
//! `!=` is true wherever `=` is not: `labels.team != web` is true of tokens without that label, too. What compares by order is false of a
//! token that never ends, or was never used. A value is a word without white space and `( ) < > = ! , " '`, or any text in double or
//! single quotes, where a backslash goes before a quote or a backslash; there are no wildcards. Keywords are in capitals. White space
//! separates, and is needed only around keywords.
//!
//! A filter has at most [`MAX_LEN`](Filter::MAX_LEN) bytes, [`MAX_RESTRICTIONS`](Filter::MAX_RESTRICTIONS) restrictions and
//! [`MAX_DEPTH`](Filter::MAX_DEPTH) parentheses one in another, so that reading and evaluating it is cheap.
//!
//! Text goes through the lexer and the parser to an [`Expression`] of typed [`Restriction`]s; what is printed parses to the same again.

mod error;
mod event;
mod field;
mod language;
mod lexer;
mod parser;
mod print;
mod restriction;

pub use error::FilterError;
pub use event::{EventField, EventRestriction};
pub use restriction::{Order, Restriction, Sign};

use crate::{
    time::Timestamp,
    token::{Circumstances, Token},
    usage::Usage,
};

/// Which entries of a list are wanted: those of which this is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<R>(Expression<R>);

/// Which tokens of a list are wanted.
pub type TokenFilter = Filter<Restriction>;

/// Which events of a chain of the audit log are wanted.
pub type EventFilter = Filter<EventRestriction>;

/// What a filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression<R = Restriction> {
    /// Every one of these, two at least, is true.
    All(Vec<Self>),
    /// One of these, two at least, is true.
    Any(Vec<Self>),
    /// This is true.
    One(R),
}

impl<R> Filter<R> {
    /// Most bytes of its text.
    pub const MAX_LEN: usize = 4_096;
    /// Most restrictions.
    pub const MAX_RESTRICTIONS: usize = 64;
    /// Most parentheses one in another.
    pub const MAX_DEPTH: usize = 16;

    /// What it says.
    #[must_use]
    pub const fn expression(&self) -> &Expression<R> {
        &self.0
    }
}

impl TokenFilter {
    /// Whether it is true of `token` as it is at `now`, with what is known of its use.
    #[must_use]
    pub fn matches(&self, token: &Token, usage: Option<&Usage>, circumstances: &Circumstances, now: Timestamp) -> bool {
        let (state, expiry) = (token.state(circumstances, now), token.expiry(circumstances));
        let last_used = usage.map(|usage| usage.last_used_time);
        self.0.is_true(&|restriction| restriction.is_true_of(token, state, expiry, last_used))
    }
}

impl<R> Expression<R> {
    fn is_true(&self, of: &impl Fn(&R) -> bool) -> bool {
        match self {
            Self::All(all) => all.iter().all(|part| part.is_true(of)),
            Self::Any(any) => any.iter().any(|part| part.is_true(of)),
            Self::One(restriction) => of(restriction),
        }
    }
}
