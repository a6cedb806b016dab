use std::cmp::Ordering;

use crate::{
    name::CallerId,
    resource::Resource,
    scope::ScopeName,
    time::Timestamp,
    token::{Expiry, Token, TokenState},
};

/// One comparison in a filter of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// `state = ACTIVE`: the token's state.
    State(Sign, TokenState),
    /// `scopes:repository`: the token was granted this scope itself. Implied scopes do not count.
    Scope(Sign, ScopeName),
    /// `labels.team = web`.
    Label {
        /// The label's key.
        key: String,
        /// Whether the value must be equal, or must be different or missing.
        sign: Sign,
        /// The value.
        value: String,
    },
    /// `labels.team:*`: the token has a label with this key.
    HasLabel(String),
    /// `creator = callers/ci`.
    Creator(Sign, CallerId),
    /// `create_time > 2027-01-31T12:00:00Z`.
    CreateTime(Order, Timestamp),
    /// `expire_time < 2027-01-31T12:00:00Z`. A token that never expires matches only `!=`.
    ExpireTime(Order, Timestamp),
    /// `expire_time = never`.
    NeverExpires(Sign),
    /// `last_used_time < 2027-01-31T12:00:00Z`. A token that was never used matches only `!=`.
    LastUsedTime(Order, Timestamp),
    /// `unused = true`: the token was never used.
    Unused(Sign),
    /// `resource = workspaces/acme/projects/web`: the token is bound to exactly this resource.
    Resource(Sign, Resource),
    /// `resource:workspaces/acme/projects/web`: the token is bound to this resource or one below it.
    Under(Resource),
}

/// Whether a comparison is `=` or `!=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `=`.
    Is,
    /// `!=`, the negation of `=`.
    IsNot,
}

/// How two times are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `=`
    Equal,
    /// `!=`, the negation of `=`.
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Restriction {
    /// Returns whether the comparison matches `token`, given its state, its effective expiry, and when it was last
    /// used.
    pub(super) fn matches(
        &self,
        token: &Token,
        state: TokenState,
        expiry: Expiry,
        last_used: Option<Timestamp>,
    ) -> bool {
        match self {
            Self::State(sign, wanted) => sign.agrees(state == *wanted),
            Self::Scope(sign, scope) => sign.agrees(token.scopes.granted().contains(scope)),
            Self::Label { key, sign, value } => sign.agrees(token.labels.get(key) == Some(value)),
            Self::HasLabel(key) => token.labels.get(key).is_some(),
            Self::Creator(sign, creator) => sign.agrees(token.creator == *creator),
            Self::CreateTime(order, time) => order.agrees(token.create_time.cmp(time)),
            Self::ExpireTime(order, time) => match expiry {
                Expiry::At(end) => order.agrees(end.cmp(time)),
                Expiry::Never => *order == Order::NotEqual,
            },
            Self::NeverExpires(sign) => sign.agrees(expiry == Expiry::Never),
            Self::LastUsedTime(order, time) => match last_used {
                Some(last_used) => order.agrees(last_used.cmp(time)),
                None => *order == Order::NotEqual,
            },
            Self::Unused(sign) => sign.agrees(last_used.is_none()),
            Self::Resource(sign, resource) => sign.agrees(token.resource == *resource),
            Self::Under(resource) => resource.covers(&token.resource),
        }
    }
}

impl Sign {
    /// Returns whether a value that is equal (`is_so`) or not matches.
    pub(super) const fn agrees(self, is_so: bool) -> bool {
        match self {
            Self::Is => is_so,
            Self::IsNot => !is_so,
        }
    }
}

impl Order {
    /// Returns whether a value that compares to the given one as `ordering` matches.
    pub(super) const fn agrees(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}
