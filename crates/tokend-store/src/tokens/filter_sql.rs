//! Translates token filters to SQL, and selects tokens that have not ended.

use sea_orm::{
    ColumnTrait, Condition,
    sea_query::{BinOper, Expr, ExprTrait, Query},
};
use tokend_core::{
    filter::{Order, Restriction, TokenFilter},
    scope::ScopeName,
    time::Timestamp,
    token::{TokenContext, TokenState},
    workspace::WorkspaceState,
};

use crate::{
    row::{
        filter::{FilterCondition, always, one, ordered, place, signed},
        list::map_entry,
    },
    tokens::tables::tokens::{Column, Entity},
    usage::tables::token_usage,
};

/// Translates filters of one workspace's tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterSql<'a> {
    pub(crate) token_context: &'a TokenContext,
    pub(crate) now: Timestamp,
    pub(crate) is_sqlite: bool,
}

impl FilterSql<'_> {
    /// Translates a filter to a condition on the columns of the workspace's tokens.
    pub(crate) fn of(self, filter: &TokenFilter) -> FilterCondition {
        FilterCondition::new(filter, is_search, |restriction| self.restriction(restriction))
    }

    fn restriction(self, restriction: &Restriction) -> Condition {
        match restriction {
            Restriction::State(sign, state) => signed(*sign, self.is_in(*state)),
            Restriction::Scope(sign, scope) => signed(*sign, self.has_scope(scope)),
            Restriction::Label { key, sign, value } => {
                signed(*sign, self.holds(Column::Labels, &map_entry(key, Some(value))))
            }
            Restriction::HasLabel(key) => one(self.holds(Column::Labels, &map_entry(key, None))),
            Restriction::Creator(sign, creator) => signed(*sign, one(Column::Creator.eq(creator.as_str()))),
            Restriction::CreateTime(order, time) => one(ordered(Column::CreateTime, *order, *time)),
            Restriction::ExpireTime(order, time) => match order {
                Order::Equal => self.ends_by(*time).add(self.ends_before(*time).not()),
                Order::NotEqual => self.ends_by(*time).add(self.ends_before(*time).not()).not(),
                Order::Less => self.ends_before(*time),
                Order::AtMost => self.ends_by(*time),
                Order::Greater => self.ends_by(Timestamp::MAX).add(self.ends_by(*time).not()),
                Order::AtLeast => self.ends_by(Timestamp::MAX).add(self.ends_before(*time).not()),
            },
            Restriction::NeverExpires(sign) => signed(*sign, self.ends_by(Timestamp::MAX).not()),
            Restriction::LastUsedTime(Order::NotEqual, time) => was_used(Some((Order::Equal, *time))).not(),
            Restriction::LastUsedTime(order, time) => was_used(Some((*order, *time))),
            Restriction::Unused(sign) => signed(*sign, was_used(None).not()),
            Restriction::Resource(sign, resource) => signed(*sign, one(Column::Resource.eq(resource.as_str()))),
            // Not as a range of texts, which would depend on the database's collation. No index would help either.
            Restriction::Under(resource) => Condition::any()
                .add(Column::Resource.eq(resource.as_str()))
                .add(self.place(Expr::col(Column::Resource), &format!("{resource}/")).eq(1)),
        }
    }

    /// Selects tokens in a state, by the rules of `Token::state`.
    fn is_in(self, state: TokenState) -> Condition {
        let not_revoked = || one(Column::RevokeTime.is_null());
        match (state, self.token_context.state) {
            (TokenState::Revoked, WorkspaceState::Deleted { .. }) => always(),
            (TokenState::Revoked, _) => one(Column::RevokeTime.is_not_null()),
            (TokenState::Expired, WorkspaceState::Active | WorkspaceState::Suspended { .. }) => {
                not_revoked().add(self.ends_by(self.now))
            }
            (TokenState::Active, WorkspaceState::Active)
            | (TokenState::Suspended, WorkspaceState::Suspended { .. }) => {
                not_revoked().add(self.ends_by(self.now).not())
            }
            (TokenState::Active | TokenState::Expired | TokenState::Suspended, _) => one(Expr::cust("1 = 0")),
        }
    }

    /// Selects tokens that expire at `time` or earlier, by their own expiry or by a policy deadline.
    fn ends_by(self, time: Timestamp) -> Condition {
        let own = Column::ExpireTime.lte(time.unix_micros());
        self.ends(own, self.token_context.deadlines.created_until_ended(time))
    }

    /// Selects tokens that expire before `time`, by their own expiry or by a policy deadline.
    fn ends_before(self, time: Timestamp) -> Condition {
        let own = Column::ExpireTime.lt(time.unix_micros());
        self.ends(own, self.token_context.deadlines.created_until_ending_before(time))
    }

    fn ends(self, own: Expr, created_until: Option<Timestamp>) -> Condition {
        let own = one(Column::ExpireTime.is_not_null()).add(own);
        let bound = created_until.map(|until| Column::CreateTime.lte(until.unix_micros()));
        one(Condition::any().add(own).add_option(bound))
    }

    /// The column holds scopes with a space between them.
    fn has_scope(self, scope: &ScopeName) -> Condition {
        const JOIN: BinOper = BinOper::Custom("||");
        let scopes = Expr::val(" ")
            .binary(JOIN, Expr::col(Column::Scopes))
            .binary(JOIN, Expr::val(" "));
        one(self.place(scopes, &format!(" {scope} ")).gt(0))
    }

    fn holds(self, column: Column, text: &str) -> Expr {
        self.place(Expr::col(column), text).gt(0)
    }

    fn place(self, text: Expr, part: &str) -> Expr {
        place(self.is_sqlite, text, part)
    }
}

/// Returns whether the database has to search a long text or another table.
const fn is_search(restriction: &Restriction) -> bool {
    match restriction {
        Restriction::Scope(..)
        | Restriction::Label { .. }
        | Restriction::HasLabel(_)
        | Restriction::LastUsedTime(..)
        | Restriction::Unused(_)
        | Restriction::Under(_) => true,
        Restriction::State(..)
        | Restriction::Creator(..)
        | Restriction::CreateTime(..)
        | Restriction::ExpireTime(..)
        | Restriction::NeverExpires(_)
        | Restriction::Resource(..) => false,
    }
}

/// Selects tokens that were used, and whose last use has this order to a time if one is given.
fn was_used(last: Option<(Order, Timestamp)>) -> Condition {
    let mut uses = Query::select();
    uses.column(token_usage::Column::Token)
        .from(token_usage::Entity)
        .and_where(Expr::col((token_usage::Entity, token_usage::Column::Token)).equals((Entity, Column::Id)))
        .and_where_option(last.map(|(order, time)| ordered(token_usage::Column::LastUsedTime, order, time)));
    one(Expr::exists(uses))
}

/// Selects tokens that are neither revoked nor past their own expiry. A policy deadline may have ended them all the
/// same.
pub(crate) fn not_ended_by_itself(now: Timestamp) -> Condition {
    let not_expired = Condition::any()
        .add(Column::ExpireTime.is_null())
        .add(Column::ExpireTime.gt(now.unix_micros()));
    Condition::all().add(Column::RevokeTime.is_null()).add(not_expired)
}

/// Selects tokens that are neither revoked nor expired. A policy deadline has ended those created at
/// `created_until_ended` or before.
pub(crate) fn not_ended(created_until_ended: Option<Timestamp>, now: Timestamp) -> Condition {
    let younger = created_until_ended.map(|until| Column::CreateTime.gt(until.unix_micros()));
    not_ended_by_itself(now).add_option(younger)
}
