//! What the filters of all lists have in common: how their comparisons are parsed.

use std::fmt::Display;

use super::{
    Order, Sign,
    lexer::{Operator, Value},
};
use crate::time::Timestamp;

/// The fields of one kind of list, and their parsing and error messages.
pub(super) trait Fields<'a>: Sized {
    /// A parsed comparison.
    type Restriction;

    /// Returns the field with that name.
    fn named(name: &'a str) -> Result<Self, Wrong>;

    /// Returns the operators that may follow the field, for an error message.
    fn operators(&self) -> &'static str;

    /// Parses the comparison of the field with a value.
    fn restriction(&self, operator: Operator, value: &Value<'_>) -> Result<Self::Restriction, Wrong>;

    /// Parses an operator for values without an order. `:` on a single value means `=`.
    fn sign(&self, operator: Operator) -> Result<Sign, Wrong> {
        match operator {
            Operator::Equal | Operator::Has => Ok(Sign::Is),
            Operator::NotEqual => Ok(Sign::IsNot),
            Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => {
                Err(Wrong::Operator(self.operators()))
            }
        }
    }

    /// Parses an operator for ordered values.
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

/// The part of a comparison that is wrong, and what was expected.
pub(super) enum Wrong {
    Field(&'static str),
    Operator(&'static str),
    Value(String),
}

pub(super) fn time(text: &str) -> Result<Timestamp, Wrong> {
    checked("a time", text.parse())
}

/// Converts an error into a message that names what was expected and why the value is not that.
pub(super) fn checked<T, E: Display>(what: &str, value: Result<T, E>) -> Result<T, Wrong> {
    value.map_err(|error| Wrong::Value(format!("{what}, which {error}")))
}
