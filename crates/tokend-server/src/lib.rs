//! tokend's server: everything between a socket and the store.
//!
//! ```text
//! transport -> grpc::layers (who calls?) -> grpc::services (convert) -> usecases (fetch, decide in the core, save)
//! ```
//!
//! In reading order:
//!
//! - [`server`] builds the server from its settings and runs it.
//! - [`operation`] is the table of RPCs: who may call which, and under which limits; [`limits`] has the numbers.
//! - [`transport`] turns bytes into requests, under [`tls`].
//! - `grpc` holds the layers that every request passes, and the contract's handlers.
//! - `auth` finds out who calls, and checks it again where a change is made.
//! - `usecases` do what the handlers ask for; [`error`] is how they fail.
//! - `verifier` is the one path from a presented string to a verified token or caller key.
//! - `usage` records uses of tokens and caller keys in memory.
//! - [`background`] has the jobs that run beside requests, and their supervisor.
//! - [`operator`] has the operator's commands: install, recover, restore, and change keys.
//! - [`observability`] is what people and orchestrators see of a server: metrics, health, and recorded refusals.

pub mod background;
pub mod error;
pub mod limits;
pub mod observability;
pub mod operation;
pub mod operator;
pub mod private_file;
pub mod random;
pub mod server;
pub mod tls;
pub mod transport;

mod auth;
mod grpc;
mod usage;
mod usecases;
mod verifier;
