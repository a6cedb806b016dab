//! The support code of tokend's black-box tests.
//!
//! A test is a function of an [`Installation`]: the program, with a separate directory and database. Tests share
//! nothing and leave nothing behind. [`on_both_databases!`] lists a test and runs it on SQLite and on PostgreSQL:
//!
//! ```no_run
//! # use tokend_tests::{Installation, question, token_in};
//! # use tokend_client::v1::Decision;
//! async fn a_token_works_at_once(installation: Installation) {
//!     let server = installation.start().await;
//!     let acme = server.workspace("acme").await;
//!     let token = server.token(token_in(&acme)).await;
//!     let verdict = server.verdict(question(&token.secret, &acme, &["repository"])).await;
//!     assert_eq!(verdict.decision(), Decision::Allow);
//! }
//! ```

pub mod broken_rules;
pub mod clock;
pub mod held_writes;
pub mod http;
pub mod raw;

mod backup;
mod failure;
mod installation;
mod process;
mod proxy;
mod records;
mod requests;
mod run;
mod server;
mod small_disk;
mod sql;

pub use backup::Backup;
pub use failure::{Refused, refusal};
pub use installation::{Installation, SERVE_ON_FREE_PORTS};
pub use process::{Finished, Process};
pub use proxy::Proxy;
pub use records::{Records, StoredRecord};
pub use requests::{after, max_lifetime, question, token_in};
pub use run::{run, run_within};
pub use server::{Issued, Server};
pub use small_disk::SmallDisk;
pub use tokend_test_support::{Storage, eventually, on_both_databases, on_postgres, on_sqlite, postgres};
