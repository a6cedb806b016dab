//! Filters in the database's words, so that it reads few rows that the core then has no use for.
//!
//! A narrowing finds every row that the filter is true of. An exact one finds no other row that tokend wrote: the database can then
//! count. Each condition is true or false of a row, never unknown, so that its opposite finds exactly the others.
//!
//! Some restrictions make the database search a long text or another table for each row. Only the first [`MAX_SEARCHES`] of a filter
//! are passed to the database; the core, which parses each row once, checks the rest. Such a narrowing is not exact.

use std::cell::Cell;

use sea_orm::{
    ColumnTrait, Condition,
    sea_query::{BinOper, Expr, ExprTrait, Func, Query},
};
use tokend_core::{
    filter::{Expression, Filter, Order, Restriction, Sign, TokenFilter},
    scope::ScopeName,
    time::Timestamp,
    token::{Circumstances, TokenState},
    workspace::WorkspaceState,
};

use crate::{
    entity::{
        token_usage,
        tokens::{Column, Entity},
    },
    row::map_entry,
};

/// Of which moment a filter asks and of whose tokens, and which database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrowing<'a> {
    pub(crate) circumstances: &'a Circumstances,
    pub(crate) now: Timestamp,
    pub(crate) is_sqlite: bool,
}

/// Searches of a long text or of another table that the database does for each row, at most. A search of the longest labels takes
/// about as long as parsing the whole row in the core.
const MAX_SEARCHES: usize = 4;

/// A filter in the database's words.
#[derive(Clone, Debug)]
pub(crate) struct Narrowed {
    /// What is to be true of a row's columns.
    pub(crate) condition: Condition,
    /// Whether it is true only of rows of which the filter is true.
    pub(crate) is_exact: bool,
}

impl Narrowed {
    /// Translates a filter, restriction by restriction. `is_search` says which restrictions count towards [`MAX_SEARCHES`].
    pub(crate) fn new<R>(filter: &Filter<R>, is_search: impl Fn(&R) -> bool, condition_of: impl Fn(&R) -> Condition) -> Self {
        let searches = Cell::new(0);
        let condition = joined(filter.expression(), &|restriction| {
            searches.update(|count| count + usize::from(is_search(restriction)));
            // Nothing in an expression turns true into false, so that a part that is always true finds more rows, never fewer.
            if is_search(restriction) && searches.get() > MAX_SEARCHES { always() } else { condition_of(restriction) }
        });
        Self { condition, is_exact: searches.get() <= MAX_SEARCHES }
    }
}

impl Narrowing<'_> {
    /// What is to be true of the columns of tokens of that workspace.
    pub(crate) fn of(self, filter: &TokenFilter) -> Narrowed {
        Narrowed::new(filter, is_search, |restriction| self.restriction(restriction))
    }

    fn restriction(self, restriction: &Restriction) -> Condition {
        match restriction {
            Restriction::State(sign, state) => signed(*sign, self.is_in(*state)),
            Restriction::Scope(sign, scope) => signed(*sign, self.has_scope(scope)),
            Restriction::Label { key, sign, value } => signed(*sign, self.holds(Column::Labels, &map_entry(key, Some(value)))),
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
            // Not as a range of texts, which would hang on how the database sorts them; there is no index that it could use.
            Restriction::Under(resource) => Condition::any()
                .add(Column::Resource.eq(resource.as_str()))
                .add(self.place(Expr::col(Column::Resource), &format!("{resource}/")).eq(1)),
        }
    }

    /// As `Token::state` has it.
    fn is_in(self, state: TokenState) -> Condition {
        let not_revoked = || one(Column::RevokeTime.is_null());
        match (state, self.circumstances.state) {
            (TokenState::Revoked, WorkspaceState::Deleted { .. }) => always(),
            (TokenState::Revoked, _) => one(Column::RevokeTime.is_not_null()),
            (TokenState::Expired, WorkspaceState::Active | WorkspaceState::Suspended { .. }) => {
                not_revoked().add(self.ends_by(self.now))
            }
            (TokenState::Active, WorkspaceState::Active) | (TokenState::Suspended, WorkspaceState::Suspended { .. }) => {
                not_revoked().add(self.ends_by(self.now).not())
            }
            (TokenState::Active | TokenState::Expired | TokenState::Suspended, _) => one(Expr::cust("1 = 0")),
        }
    }

    /// That it has an end, of its own or by a deadline, and that comes not later than `time`.
    fn ends_by(self, time: Timestamp) -> Condition {
        let own = Column::ExpireTime.lte(time.unix_micros());
        self.ends(own, self.circumstances.deadlines.made_until_ended(time))
    }

    /// Likewise, and comes earlier than `time`.
    fn ends_before(self, time: Timestamp) -> Condition {
        let own = Column::ExpireTime.lt(time.unix_micros());
        self.ends(own, self.circumstances.deadlines.made_until_ending_before(time))
    }

    fn ends(self, own: Expr, made_until: Option<Timestamp>) -> Condition {
        let own = one(Column::ExpireTime.is_not_null()).add(own);
        let bound = made_until.map(|until| Column::CreateTime.lte(until.unix_micros()));
        one(Condition::any().add(own).add_option(bound))
    }

    /// Scopes stand with a space between.
    fn has_scope(self, scope: &ScopeName) -> Condition {
        const JOIN: BinOper = BinOper::Custom("||");
        let scopes = Expr::val(" ").binary(JOIN, Expr::col(Column::Scopes)).binary(JOIN, Expr::val(" "));
        one(self.place(scopes, &format!(" {scope} ")).gt(0))
    }

    fn holds(self, column: Column, text: &str) -> Expr {
        self.place(Expr::col(column), text).gt(0)
    }

    fn place(self, text: Expr, part: &str) -> Expr {
        place(self.is_sqlite, text, part)
    }
}

/// Whether the database searches a long text or another table for it.
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

/// That it was used, and the last time of that stands so to another. Looked up by the token's id.
fn was_used(last: Option<(Order, Timestamp)>) -> Condition {
    let mut uses = Query::select();
    uses.column(token_usage::Column::Token)
        .from(token_usage::Entity)
        .and_where(Expr::col((token_usage::Entity, token_usage::Column::Token)).equals((Entity, Column::Id)))
        .and_where_option(last.map(|(order, time)| ordered(token_usage::Column::LastUsedTime, order, time)));
    one(Expr::exists(uses))
}

/// What the restrictions of a filter say together.
fn joined<R>(expression: &Expression<R>, of: &impl Fn(&R) -> Condition) -> Condition {
    match expression {
        Expression::All(parts) => parts.iter().map(|part| joined(part, of)).fold(Condition::all(), Condition::add),
        Expression::Any(parts) => parts.iter().map(|part| joined(part, of)).fold(Condition::any(), Condition::add),
        Expression::One(restriction) => of(restriction),
    }
}

/// Where `part` stands in `text`, counted from 1; 0 if it does not.
pub(crate) fn place(is_sqlite: bool, text: Expr, part: &str) -> Expr {
    Func::cust(if is_sqlite { "instr" } else { "strpos" }).args([text, part.into()]).into()
}

fn always() -> Condition {
    one(Expr::cust("1 = 1"))
}

pub(crate) fn one(condition: impl Into<Condition>) -> Condition {
    Condition::all().add(condition)
}

fn signed(sign: Sign, condition: impl Into<Condition>) -> Condition {
    match sign {
        Sign::Is => one(condition),
        Sign::IsNot => one(condition).not(),
    }
}

pub(crate) fn ordered(column: impl ColumnTrait, order: Order, time: Timestamp) -> Expr {
    let micros = time.unix_micros();
    match order {
        Order::Equal => column.eq(micros),
        Order::NotEqual => column.ne(micros),
        Order::Less => column.lt(micros),
        Order::AtMost => column.lte(micros),
        Order::Greater => column.gt(micros),
        Order::AtLeast => column.gte(micros),
    }
}
