//! The domain of tokend: the format of credentials, what a token permits, and the verdict.
//!
//! Everything here is a pure function of its arguments. `now` and the random source are passed in, and nothing depends
//! on an async runtime, a transport or a database. In reading order:
//!
//! - [`name`], [`resource`], [`scope`], [`address`], [`labels`], [`text`], [`request_id`]: the values that tokens are
//!   described with, each validated on construction.
//! - [`time`]: timestamps and clocks.
//! - [`credential`], [`keyring`]: how secrets are generated, encoded, authenticated and stored.
//! - [`organization`], [`workspace`], [`token`], [`caller`]: the entities, and the transitions between their states.
//! - [`policy`]: what organizations and workspaces require of their tokens.
//! - [`verdict`]: whether a token may do something, at a given time and from a given address.
//! - [`filter`], [`page_token`]: which entries of a list a client asks for, and where the next page starts.
//! - [`leak`]: reports of leaked secrets, and what a reported secret turned out to be.
//! - [`revocation`]: the record of revocations outside the database, which a restored backup needs.
//! - [`feed`]: revisions, which are positions in the order of all changes, and what each change was about.
//! - [`lease`]: until when a server or an SDK may answer from memory.
//! - [`rule`]: rules of the revocation protocol that tests leave out.
//! - [`change`]: the changes that a transaction makes, from which audit events, revocation lines and messages derive.
//! - [`row_mac`], [`audit`]: how an edited row, and an edited or shortened audit log, are detected.
//! - [`webhook`]: the messages that are sent to the operator's receiver.
//! - [`log_limit`]: limits how often a kind of line is logged.

pub mod address;
pub mod audit;
pub mod caller;
pub mod change;
pub mod credential;
pub mod feed;
pub mod filter;
pub mod keyring;
pub mod labels;
pub mod leak;
pub mod lease;
pub mod log_limit;
pub mod name;
pub mod organization;
pub mod page_token;
pub mod policy;
pub mod request_id;
pub mod resource;
pub mod revocation;
pub mod row_mac;
pub mod rule;
pub mod scope;
pub mod text;
pub mod time;
pub mod token;
pub mod verdict;
pub mod webhook;
pub mod workspace;

mod base62;
