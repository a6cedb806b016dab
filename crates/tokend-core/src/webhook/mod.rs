//! Webhook messages to the operator's receiver, after the Standard Webhooks specification 1.0.0
//! (<https://www.standardwebhooks.com>).
//!
//! A [`Message`] is created with its id and body when the event happens, and kept until the receiver has accepted it.
//! Every attempt sends the same message with a new [signature](SigningSecrets::sign). After a failed attempt the next
//! one follows after [`pause_after`].

mod message;
mod retry;
mod signature;

pub use message::{MalformedMessageId, Message, MessageId};
pub use retry::{longest_pause_after, pause_after};
pub use signature::{MalformedSecrets, SigningSecrets};
