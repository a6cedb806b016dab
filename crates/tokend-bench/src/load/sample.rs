//! A file with the secrets of some tokens, for benchmarks that verify them.
//!
//! Each line is a question about one token as JSON, with the right answer. The lines of a transaction are written
//! before its COMMIT: after a crash there may be lines of tokens that are not stored, which the next load removes, but
//! no token of the sample is without its line.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokend_core::{
    credential::Secret,
    name::TokenName,
    time::Timestamp,
    token::{Expiry, Token},
};
use tokend_server::private_file;
use tokend_store::Store;

use crate::BoxError;

/// A question about a token, and the right answer.
#[derive(Debug)]
pub struct Sampled {
    /// The token's name.
    pub name: String,
    /// The token.
    pub token: Secret,
    /// A resource that the token covers.
    pub resource: String,
    /// A scope that the token has.
    pub scope: String,
    /// An address that the token may be used from, for a token that may not be used from everywhere.
    pub address: Option<String>,
    /// Whether the answer is ALLOW, until the token expires.
    pub is_allowed: bool,
    /// When the token expires.
    pub expiry: Expiry,
}

/// A line of the file.
#[derive(Deserialize, Serialize)]
struct Line<'a> {
    name: &'a str,
    token: &'a str,
    resource: &'a str,
    scope: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    allowed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expire_time: Option<String>,
}

/// The file of a load that is running.
pub struct SampleFile {
    path: PathBuf,
    file: Mutex<File>,
    lines: AtomicU64,
}

impl Sampled {
    /// Returns a question that a token with these properties answers with ALLOW while it works.
    pub(super) fn of(token: &Token, secret: Secret, now: Timestamp) -> Self {
        let first = token.allowed_addresses.networks().first();
        Self {
            name: token.name.to_string(),
            token: secret,
            resource: format!("{}/branches/main", token.resource),
            scope: token
                .scopes
                .granted()
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            address: first.map(|network| network.addr().to_string()),
            is_allowed: token.revocation.is_none() && !token.own_expiry.has_passed(now),
            expiry: token.own_expiry,
        }
    }

    fn line(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Line {
            name: &self.name,
            token: self.token.expose(),
            resource: &self.resource,
            scope: &self.scope,
            address: self.address.clone(),
            allowed: self.is_allowed,
            expire_time: self.expiry.time().map(|time| time.to_string()),
        })
    }

    fn parse(text: &str) -> Result<Self, BoxError> {
        let Line {
            name,
            token,
            resource,
            scope,
            address,
            allowed,
            expire_time,
        } = serde_json::from_str(text)?;
        Ok(Self {
            name: name.to_owned(),
            token: Secret::new(token.to_owned()),
            resource: resource.to_owned(),
            scope: scope.to_owned(),
            address,
            is_allowed: allowed,
            expiry: expire_time.map_or(Ok(Expiry::Never), |time| time.parse().map(Expiry::At))?,
        })
    }
}

/// Reads the file of a load that is complete.
///
/// # Errors
/// It can't be read, or it has another line.
pub fn read(path: &Path) -> Result<Vec<Sampled>, BoxError> {
    let text = fs::read_to_string(path).map_err(|error| unusable(path, &error))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            // The parser's own message could quote a secret.
            Sampled::parse(line)
                .map_err(|_| format!("line {} of {} is no sampled token", index + 1, path.display()).into())
        })
        .collect()
}

impl SampleFile {
    /// Opens the file with mode 0600. Keeps the lines of an earlier load whose tokens are in the database, and removes
    /// all others.
    ///
    /// # Errors
    /// The file can't be read or written, or holds something else.
    pub async fn open(path: &Path, store: &Store) -> Result<Self, BoxError> {
        let found = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            found => found.map_err(|error| unusable(path, &error))?,
        };
        let (mut kept, mut names) = (String::new(), BTreeSet::new());
        let count = found.lines().count();
        for (index, line) in found.lines().enumerate() {
            let Ok(Sampled { name, .. }) = Sampled::parse(line) else {
                // The last one may have been interrupted.
                if index + 1 == count && !found.ends_with('\n') {
                    continue;
                }
                return Err(format!(
                    "line {} of {} is no sampled token: remove the file, or give another --sample-file",
                    index + 1,
                    path.display()
                )
                .into());
            };
            let stored: TokenName = name.parse()?;
            if store.token(&stored).await?.is_some() && names.insert(name) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        private_file::put(path, &kept).map_err(|error| unusable(path, &error))?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file.map_err(|error| unusable(path, &error))?),
            lines: AtomicU64::new(u64::try_from(names.len())?),
        })
    }

    /// Returns how many tokens are in the file.
    pub fn len(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Returns whether no token is in the file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends tokens, which are in the file when this returns, even if the machine crashes then.
    pub(super) fn append(&self, sampled: &[Sampled]) -> Result<(), BoxError> {
        if sampled.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        for one in sampled {
            lines.push_str(&one.line()?);
            lines.push('\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(lines.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|error| unusable(&self.path, &error))?;
        self.lines.fetch_add(u64::try_from(sampled.len())?, Ordering::Relaxed);
        Ok(())
    }
}

fn unusable(path: &Path, error: &io::Error) -> BoxError {
    format!("can't use the sample file {}: {error}", path.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let sampled = Sampled {
            name: "workspaces/load-1/tokens/x".to_owned(),
            token: Secret::new("tkdw_x".to_owned()),
            resource: "workspaces/load-1/branches/main".to_owned(),
            scope: "repository".to_owned(),
            address: Some("10.1.2.0".to_owned()),
            is_allowed: true,
            expiry: Expiry::At(Timestamp::UNIX_EPOCH),
        };
        let line = sampled.line().expect("it is text");
        let read = Sampled::parse(&line).expect("it is a line");
        assert_eq!(read.line().expect("it is text"), line);
        assert_eq!((read.token.expose(), read.expiry), ("tkdw_x", sampled.expiry));
    }
}
