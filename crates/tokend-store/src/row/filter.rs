//! Translating filters to SQL, so that the database returns few rows that `tokend-core` then rejects.
//!
//! A translated filter selects every row that the filter matches. An exact one selects no other row that tokend wrote,
//! so the database can count the matches. Each condition is true or false for a row, never unknown, so its negation
//! selects exactly the other rows.
//!
//! For some restrictions the database searches a long text or another table for each row. Only the first
//! [`MAX_SEARCHES`] of them are passed to the database, and `tokend-core`, which parses each row once, checks the rest.
//! Such a filter is not exact.

use std::cell::Cell;

use sea_orm::{
    ColumnTrait, Condition,
    sea_query::{Expr, Func},
};
use tokend_core::{
    filter::{Expression, Filter, Order, Sign},
    time::Timestamp,
};

/// The maximum number of searches in a long text or another table that the database does for each row. A search of the
/// longest labels takes about as long as parsing the whole row in `tokend-core`.
const MAX_SEARCHES: usize = 4;

/// A filter as a condition on columns.
#[derive(Clone, Debug)]
pub(crate) struct FilterCondition {
    /// The condition that a row must meet.
    pub(crate) condition: Condition,
    /// Whether the condition selects only rows that the filter matches.
    pub(crate) is_exact: bool,
}

impl FilterCondition {
    /// Translates a filter. `condition_of` translates one restriction, and `is_search` returns whether a restriction
    /// counts towards [`MAX_SEARCHES`].
    pub(crate) fn new<R>(
        filter: &Filter<R>,
        is_search: impl Fn(&R) -> bool,
        condition_of: impl Fn(&R) -> Condition,
    ) -> Self {
        let searches = Cell::new(0);
        let condition = joined(filter.expression(), &|restriction| {
            searches.update(|count| count + usize::from(is_search(restriction)));
            // Expressions have no negation, so a part that is always true selects more rows, never fewer.
            if is_search(restriction) && searches.get() > MAX_SEARCHES {
                always()
            } else {
                condition_of(restriction)
            }
        });
        Self {
            condition,
            is_exact: searches.get() <= MAX_SEARCHES,
        }
    }
}

/// Translates an expression to one condition.
fn joined<R>(expression: &Expression<R>, of: &impl Fn(&R) -> Condition) -> Condition {
    match expression {
        Expression::All(parts) => parts
            .iter()
            .map(|part| joined(part, of))
            .fold(Condition::all(), Condition::add),
        Expression::Any(parts) => parts
            .iter()
            .map(|part| joined(part, of))
            .fold(Condition::any(), Condition::add),
        Expression::One(restriction) => of(restriction),
    }
}

/// Returns the SQL function that finds `part` in `text`: its position, counted from 1, or 0 if it is missing.
pub(crate) fn place(is_sqlite: bool, text: Expr, part: &str) -> Expr {
    Func::cust(if is_sqlite { "instr" } else { "strpos" })
        .args([text, part.into()])
        .into()
}

pub(crate) fn always() -> Condition {
    one(Expr::cust("1 = 1"))
}

pub(crate) fn one(condition: impl Into<Condition>) -> Condition {
    Condition::all().add(condition)
}

pub(crate) fn signed(sign: Sign, condition: impl Into<Condition>) -> Condition {
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
