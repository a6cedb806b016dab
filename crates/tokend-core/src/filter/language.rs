//! What the filters of all lists share: how their comparisons are read.

use std::fmt::Display;

use super::{
    Order, Sign,
    lexer::{Operator, Value},
};
use crate::time::Timestamp;

/// What the filter of one kind of list can ask for, and how that is said.
pub(super) trait Fields<'a>: Sized {
    /// What a field, an operator and a value say together.
    type Restriction;

    /// The field of that name.
    fn named(name: &'a str) -> Result<Self, Wrong>;

    /// What may follow, for people.
    fn operators(&self) -> &'static str;

    /// What it says together with an operator and a value.
    fn restriction(&self, operator: Operator, value: &Value<'_>) -> Result<Self::Restriction, Wrong>;

    /// What compares values that have no order. `:` on a single value is `=`.
    fn sign(&self, operator: Operator) -> Result<Sign, Wrong> {
        match operator {
            Operator::Equal | Operator::Has => Ok(Sign::Is),
            Operator::NotEqual => Ok(Sign::IsNot),
            Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => Err(Wrong::Operator(self.operators())),
        }
    }

    /// What compares values that have one.
    fn order(&self, operator: Operator) -> Result<Order, Wrong> {
        match operator {
            Operator::Equal => Ok(Order::Equal),
            Operator::NotEqual => Ok(Order::NotEqual),
            Operator::Less => Ok(Order::Less),
            Operator::AtMost => Ok(Order::AtMost),
            Operator::Greater => Ok(Order::Greater),
            Operator::AtLeast => Ok(Order::AtLeast),
            Operator::Has => Err(Wrong::Operator(self.operators())),
        }
    }
}

/// Which part of a restriction does not fit, and what would.
pub(super) enum Wrong {
    Field(&'static str),
    Operator(&'static str),
    Value(String),
}

pub(super) fn time(text: &str) -> Result<Timestamp, Wrong> {
    checked("a time", text.parse())
}

/// What is expected is `what`, and the error tells what it must be like.
pub(super) fn checked<T, E: Display>(what: &str, value: Result<T, E>) -> Result<T, Wrong> {
    value.map_err(|error| Wrong::Value(format!("{what}, which {error}")))
}
