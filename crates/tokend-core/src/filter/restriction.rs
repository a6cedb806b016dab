use std::cmp::Ordering;

use crate::{
    name::CallerId,
    resource::Resource,
    scope::ScopeName,
    time::Timestamp,
    token::{Expiry, Token, TokenState},
};

/// One comparison of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// `state = ACTIVE`: what people are told of its state.
    State(Sign, TokenState),
    /// `scopes:repository`: whether it was granted that scope itself, whatever its scopes imply.
    Scope(Sign, ScopeName),
    /// `labels.team = web`.
    Label {
        /// The label's key.
        key: String,
        /// Whether its value is this one, or is another or missing.
        sign: Sign,
        /// The value.
        value: String,
    },
    /// `labels.team:*`: whether it has a label of that key.
    HasLabel(String),
    /// `creator = callers/ci`.
    Creator(Sign, CallerId),
    /// `create_time > 2027-01-31T12:00:00Z`.
    CreateTime(Order, Timestamp),
    /// `expire_time < 2027-01-31T12:00:00Z`: of a token that never ends true only for `!=`.
    ExpireTime(Order, Timestamp),
    /// `expire_time = never`.
    NeverExpires(Sign),
    /// `last_used_time < 2027-01-31T12:00:00Z`: of a token that was never used true only for `!=`.
    LastUsedTime(Order, Timestamp),
    /// `unused = true`: whether it was never used.
    Unused(Sign),
    /// `resource = workspaces/acme/projects/web`: whether it is bound to exactly this.
    Resource(Sign, Resource),
    /// `resource:workspaces/acme/projects/web`: whether it is bound to this or something below.
    Under(Resource),
}

/// Whether something is to be so or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is to be so: `=`.
    Is,
    /// It is not: `!=`, the opposite of `=` for every token.
    IsNot,
}

/// How a time stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `=`
    Equal,
    /// `!=`, the opposite of `=` for every token.
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
    /// Whether it is true of `token`, which is in this state, ends then, and was used last then, if ever.
    pub(super) fn is_true_of(&self, token: &Token, state: TokenState, expiry: Expiry, last_used: Option<Timestamp>) -> bool {
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
    /// Whether something that is or is not so, is as it is to be.
    pub(super) const fn agrees(self, is_so: bool) -> bool {
        match self {
            Self::Is => is_so,
            Self::IsNot => !is_so,
        }
    }
}

impl Order {
    /// Whether two times that stand so to each other are as they are to be.
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
