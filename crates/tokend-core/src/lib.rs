//! The domain of tokend, pure: what a credential looks like, what a token permits, and the verdict.
//!
//! Everything here is a function of its arguments: `now` and the random source come in from outside, and nothing knows of a
//! runtime, a transport or a database. In reading order:
//!
//! - [`name`], [`resource`], [`scope`], [`address`], [`labels`], [`text`], [`request_id`]: the words that tokens are described with.
//! - [`credential`] and [`keyring`]: how secrets are made, spelled, recognized and stored.
//! - [`organization`], [`workspace`], [`token`] and its [`rotation`], [`caller`], [`certificate_san`]: what there is.
//! - [`policy`]: what organizations and workspaces demand of their tokens.
//! - [`verdict`]: may this token do this, here, now? [`usage`]: what is known of the times that it did.
//! - [`expiry_notice`]: what is told of a token's end, and when.
//! - [`retention`]: which tokens are taken away after they have ended.
//! - [`ending`], [`ending_chain`]: what a restored backup must not revive.
//! - [`filter`]: which tokens of a list are wanted.
//! - [`leak`]: what is said of secrets that were found where they do not belong.
//! - [`text_file`]: how files spell text.
//! - [`page_token`]: where the next page of a list starts.
//! - [`row_mac`]: why a stored row can be believed.
//! - [`audit`]: who did what, in chains that can't be edited.
//! - [`webhook`]: what a receiver outside is told.
//! - [`time`], [`clock`], [`revision`], [`feed`]: when.

pub mod address;
pub mod audit;
pub mod caller;
pub mod certificate_san;
pub mod clock;
pub mod credential;
pub mod ending;
pub mod ending_chain;
pub mod expiry_notice;
pub mod feed;
pub mod filter;
pub mod keyring;
pub mod labels;
pub mod leak;
pub mod name;
pub mod organization;
pub mod page_token;
pub mod policy;
pub mod quote;
pub mod request_id;
pub mod resource;
pub mod retention;
pub mod revision;
pub mod rotation;
pub mod row_mac;
pub mod scope;
pub mod text;
pub mod text_file;
pub mod time;
pub mod token;
pub mod usage;
pub mod verdict;
pub mod webhook;
pub mod workspace;

mod base62;
