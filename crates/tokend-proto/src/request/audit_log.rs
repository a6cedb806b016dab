//! Requests of `AuditLog`.

use tokend_core::{audit::Chain, filter::EventFilter};

use crate::{
    field::{FieldViolations, Fields},
    request::page::Page,
    v1,
};

/// A `ListAuditEventsRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ListAuditEvents {
    /// Of which chain.
    pub chain: Chain,
    /// Which of its events; none: all of them.
    pub filter: Option<EventFilter>,
    /// Which page.
    pub page: Page,
}

/// A `WatchAuditEventsRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct WatchAuditEvents {
    /// Which chain.
    pub chain: Chain,
    /// The last event that is known already; 0 for none.
    pub after: u64,
}

impl ListAuditEvents {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::ListAuditEventsRequest) -> Result<Self, FieldViolations> {
        let v1::ListAuditEventsRequest { parent, filter, page_size, page_token } = message;
        let mut fields = Fields::default();
        let chain = chain(&mut fields, &parent);
        let filter = fields.filter(&filter);
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(chain.zip(filter).zip(page).map(|((chain, filter), page)| Self { chain, filter, page }))
    }
}

impl WatchAuditEvents {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: &v1::WatchAuditEventsRequest) -> Result<Self, FieldViolations> {
        let v1::WatchAuditEventsRequest { parent, after_sequence } = message;
        let mut fields = Fields::default();
        let chain = chain(&mut fields, parent);
        let after = u64::try_from(*after_sequence).map_err(|_| "must not be negative; zero starts with the oldest event");
        let after = fields.check("after_sequence", after);
        fields.finish(chain.zip(after).map(|(chain, after)| Self { chain, after }))
    }
}

fn chain(fields: &mut Fields, parent: &str) -> Option<Chain> {
    fields.check("parent", Chain::from_parent(parent).map_err(|error| format!("{error}, or - for the installation")))
}
