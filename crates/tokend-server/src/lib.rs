//! tokend's server. A request goes:
//!
//! ```text
//! transport -> layers (who calls?) -> services (convert) -> usecases (fetch, decide in the core, save) -> convert -> answer
//! ```
//!
//! In reading order: [`server`] puts it together; [`transport`] turns bytes into requests, under [`tls`]; `layers` are what every
//! request passes; [`rules`] say who may call what, [`limits`] how much; `services` are the contract's handlers, `usecases` what they
//! do; [`refusal`] and `status` are how a call fails; `attempt`, `refusal_record` and `tally` are what is kept of refused calls; `room` and `look_ups` see
//! to it that nobody has more than a share; `health` and `ops` are
//! for orchestrators; [`installation`], [`keyring_file`], [`panics`] and [`random`] are what the start needs; [`recovery`] is for who
//! has lost every key; [`keyring_life`] adds and retires keys, `keyring_watch` follows that; [`audit_keeper`] makes checkpoints of the
//! audit log, and cuts it; `expiry_keeper` tells of tokens' ends, `caller_key_expiry` gives notice of caller keys', and [`retention`] purges those that ended long ago, each at its `pace`,
//! in a `sweep` of small writes; [`webhook`] tells a receiver outside; `usage` keeps what use is made of tokens; [`revocations_file`] and
//! [`restore`] see to it that a restored backup revives nothing.

pub mod audit_keeper;
pub mod installation;
pub mod keyring_file;
pub mod keyring_life;
pub mod limits;
pub mod panics;
pub mod private_file;
pub mod random;
pub mod recovery;
pub mod refusal;
pub mod restore;
pub mod retention;
pub mod revocations_file;
pub mod rules;
pub mod server;
pub mod tls;
pub mod transport;
pub mod webhook;

mod access;
mod attempt;
mod caller_key_expiry;
mod expiry_keeper;
mod failed_authentications;
mod health;
mod keyring_watch;
mod layers;
mod look_ups;
mod ops;
mod pace;
mod paging;
mod reflection;
mod refusal_record;
mod room;
mod services;
mod status;
mod sweep;
mod tally;
mod usage;
mod usecases;
