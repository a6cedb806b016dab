//! Translates filters of the audit log to SQL. The condition selects every record that the filter matches, and may
//! select others.

use sea_orm::{
    ColumnTrait, Condition,
    sea_query::{Expr, ExprTrait},
};
use tokend_core::filter::{EventField, EventFilter, EventRestriction, Sign};

use crate::{
    audit::tables::audit_events::Column,
    row::filter::{FilterCondition, one, ordered, place},
};

/// Translates filters of the audit log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventFilterSql {
    pub(crate) is_sqlite: bool,
}

impl EventFilterSql {
    /// Translates a filter to a condition on the columns of records.
    pub(crate) fn of(self, filter: &EventFilter) -> Condition {
        FilterCondition::new(filter, is_search, |restriction| self.restriction(restriction)).condition
    }

    fn restriction(self, restriction: &EventRestriction) -> Condition {
        match restriction {
            EventRestriction::Text(field, Sign::Is, text) => one(column(*field).eq(text)),
            EventRestriction::Text(field, Sign::IsNot, text) => one(column(*field).ne(text)),
            EventRestriction::TypeAbout(subject) => one(self.place(Column::Kind, &format!("{subject}.")).eq(1)),
            EventRestriction::Under(name) => {
                let below = self.place(Column::Resource, &format!("{name}/")).eq(1);
                Condition::any().add(Column::Resource.eq(name)).add(below)
            }
            // `tokend-core` decides whether an address lies in a network.
            EventRestriction::Within(_) => one(Column::Address.ne("")),
            EventRestriction::ReasonHas(text) => one(self.place(Column::Reason, text).gt(0)),
            EventRestriction::Time(order, time) => one(ordered(Column::Time, *order, *time)),
        }
    }

    fn place(self, column: Column, part: &str) -> Expr {
        place(self.is_sqlite, Expr::col(column), part)
    }
}

/// Returns whether the database has to search a text.
const fn is_search(restriction: &EventRestriction) -> bool {
    match restriction {
        EventRestriction::TypeAbout(_) | EventRestriction::Under(_) | EventRestriction::ReasonHas(_) => true,
        EventRestriction::Text(..) | EventRestriction::Within(_) | EventRestriction::Time(..) => false,
    }
}

const fn column(field: EventField) -> Column {
    match field {
        EventField::Type => Column::Kind,
        EventField::Caller => Column::Caller,
        EventField::Actor => Column::Actor,
        EventField::Address => Column::Address,
        EventField::Resource => Column::Resource,
        EventField::Outcome => Column::Outcome,
        EventField::Reason => Column::Reason,
    }
}
