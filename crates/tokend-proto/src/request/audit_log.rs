//! Requests of `AuditLog`.

use tokend_core::{audit::Chain, filter::EventFilter};

use crate::{
    field::{Checked, FieldViolations, Fields},
    request::page::Page,
    v1,
};

/// A validated `ListAuditEventsRequest`.
#[derive(Clone, Debug)]
pub struct ListAuditEvents {
    /// The chain.
    pub chain: Chain,
    /// Selects events; `None` for all.
    pub filter: Option<EventFilter>,
    /// The page.
    pub page: Page,
}

/// A validated `WatchAuditEventsRequest`.
#[derive(Clone, Debug)]
pub struct WatchAuditEvents {
    /// The chain.
    pub chain: Chain,
    /// The sequence number of the last event that is known already; 0 for none.
    pub after: u64,
}

impl ListAuditEvents {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::ListAuditEventsRequest) -> Result<Self, FieldViolations> {
        let v1::ListAuditEventsRequest {
            parent,
            filter,
            page_size,
            page_token,
        } = message;
        let mut fields = Fields::default();
        let chain = chain(&mut fields, &parent);
        let filter = fields.filter(&filter);
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(|| {
            Ok(Self {
                chain: chain?,
                filter: filter?,
                page: page?,
            })
        })
    }
}

impl WatchAuditEvents {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: &v1::WatchAuditEventsRequest) -> Result<Self, FieldViolations> {
        let v1::WatchAuditEventsRequest { parent, after_sequence } = message;
        let mut fields = Fields::default();
        let chain = chain(&mut fields, parent);
        let after =
            u64::try_from(*after_sequence).map_err(|_| "must not be negative; zero starts with the oldest event");
        let after = fields.check("after_sequence", after);
        fields.finish(|| {
            Ok(Self {
                chain: chain?,
                after: after?,
            })
        })
    }
}

fn chain(fields: &mut Fields, parent: &str) -> Checked<Chain> {
    fields.check(
        "parent",
        Chain::from_parent(parent).map_err(|error| format!("{error}, or - for the installation")),
    )
}
