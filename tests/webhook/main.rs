//! The webhook: who it tells, what happens when the receiver does not take a message, and that none is ever lost. The receiver is a
//! real one, over HTTPS.

mod outbox;
mod receiver;
mod setting;

mod delivery;
mod events;
mod failures;
mod interruptions;
mod replicas;
mod secrets;
mod start;
