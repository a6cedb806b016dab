//! The one receiver outside that is told what becomes of tokens, after the Standard Webhooks specification 1.0.0
//! (<https://www.standardwebhooks.com>).
//!
//! A [`Message`] is made when something happens, id and body included, and kept until the receiver has it: every try sends the same.

mod message;

pub use message::{MalformedMessageId, Message, MessageId};
