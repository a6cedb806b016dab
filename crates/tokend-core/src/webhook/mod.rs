//! The one receiver outside that is told what becomes of tokens, after the Standard Webhooks specification 1.0.0
//! (<https://www.standardwebhooks.com>).
//!
//! A [`Message`] is made when something happens, id and body included, and kept until the receiver has it: every try sends the same,
//! with the [signature](SigningSecrets::sign) of that moment, and [`pause_after`] a failure comes the next.

mod message;
mod retry;
mod signature;

pub use message::{MalformedMessageId, Message, MessageId};
pub use retry::{longest_pause_after, pause_after};
pub use signature::{MalformedSecrets, SigningSecrets};
