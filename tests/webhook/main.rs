//! The webhook: what it sends, how it retries a refused message, and that no message is lost. The receiver is a real
//! HTTPS server.

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

tokend_tests::define_run_test!();
