//! The outbox of the webhook.

pub(crate) mod messages;
pub(crate) mod row;
pub(crate) mod tables;
