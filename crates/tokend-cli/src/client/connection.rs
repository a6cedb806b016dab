//! The connection to the service: its address, and the caller that the command acts as.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use tokend_client::{CallerKey, Client, Retry};
use tokend_core::{credential::Secret, text::encoding};
use tonic::Code;
use zeroize::Zeroizing;

use super::tls::TlsArgs;
use crate::command_error::CommandError;

const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";

const KEY_VARIABLE: &str = "TOKEND_CALLER_KEY";
const KEY_FILE_VARIABLE: &str = "TOKEND_CALLER_KEY_FILE";

/// The flags for the connection.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// The address of the service, or several with commas between; https://HOST:PORT uses TLS [default:
    /// 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT", env = "TOKEND_ADDRESS", help_heading = "Connection")]
    address: Option<String>,
    /// A file with the caller key. Without it, the environment is used: the key in TOKEND_CALLER_KEY, else the file
    /// that TOKEND_CALLER_KEY_FILE names
    // Not clap's `env`: then the file that a variable names would override the key in the other one.
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    caller_key_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl Connection {
    /// Connects with the caller key or the client certificate.
    ///
    /// # Errors
    /// Neither is given, one can't be read, or nothing answers at the address.
    pub(super) async fn open(&self) -> Result<Client, CommandError> {
        let tls = self.tls.read()?;
        let clear = caller_key(self.caller_key_file.as_deref(), |name| std::env::var_os(name))?;
        let key = match clear {
            Some(clear) => Some(CallerKey::new(clear.expose())?),
            None if tls.has_identity() => None,
            None => return Err(no_key()),
        };
        let builder = Client::builder(self.address().unwrap_or(DEFAULT_ADDRESS)).tls(&tls);
        let builder = match &key {
            Some(key) => builder.key(key),
            None => builder,
        };
        // Someone watches: errors are shown at once. Commands that make many calls repeat them, and say so.
        Ok(builder.retry(Retry::never()).connect().await?)
    }

    /// Returns whether an address was given, by the flag or the environment.
    pub(super) fn names_a_server(&self) -> bool {
        self.address().is_some()
    }

    /// Returns the address. An empty variable counts as not set.
    fn address(&self) -> Option<&str> {
        self.address.as_deref().filter(|address| !address.is_empty())
    }
}

/// Returns the caller key, if one is given. The flag overrides the environment, and there a key overrides a file.
fn caller_key(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Secret>, CommandError> {
    if let Some(file) = file {
        return read_key(file).map(Some);
    }
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(clear) = set(KEY_VARIABLE) {
        let clear = clear
            .into_string()
            .map_err(|_| CommandError::Other(format!("{KEY_VARIABLE} is not text")))?;
        return Ok(Some(Secret::new(clear)));
    }
    set(KEY_FILE_VARIABLE)
        .map(|file| read_key(Path::new(&file)))
        .transpose()
}

fn read_key(file: &Path) -> Result<Secret, CommandError> {
    let fault = |error: &dyn std::fmt::Display| {
        CommandError::Other(format!("can't read the caller key from {}: {error}", file.display()))
    };
    let bytes = Zeroizing::new(fs::read(file).map_err(|error| fault(&error))?);
    let mut clear = encoding::decode(&bytes).map_err(|error| fault(&error))?;
    let key = Secret::new(std::mem::take(&mut *clear));
    if key.expose().trim().is_empty() {
        return Err(CommandError::Other(format!(
            "{} is empty: put the caller key into it",
            file.display()
        )));
    }
    Ok(key)
}

/// Returns the error with which the service would reject a call without a key.
fn no_key() -> CommandError {
    CommandError::Call(tokend_client::CallError {
        code: Code::Unauthenticated,
        reason: "MISSING_CREDENTIAL".to_owned(),
        message: format!(
            "no caller key was given: set {KEY_VARIABLE}, or pass --caller-key-file or a client certificate"
        ),
        fields: Vec::new(),
        preconditions: Vec::new(),
        retry_after: None,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write};

    use super::*;

    fn key(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Option<String>, CommandError> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        caller_key(file, |name| variables.get(name).map(OsString::from))
            .map(|key| key.map(|key| key.expose().to_owned()))
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content.as_bytes()).expect("written");
        file
    }

    #[test]
    fn the_flag_overrides_the_key_which_overrides_the_file_variable() {
        let (flagged, named) = (file("flagged"), file("named"));
        let named = named.path().to_str().expect("text");
        let both = [(KEY_VARIABLE, "direct"), (KEY_FILE_VARIABLE, named)];
        assert_eq!(
            key(Some(flagged.path()), &both).expect("a key").as_deref(),
            Some("flagged")
        );
        assert_eq!(key(None, &both).expect("a key").as_deref(), Some("direct"));
        assert_eq!(
            key(None, &[(KEY_VARIABLE, ""), (KEY_FILE_VARIABLE, named)])
                .expect("a key")
                .as_deref(),
            Some("named")
        );
    }

    #[test]
    fn without_a_key_nobody_is_authenticated() {
        assert_eq!(key(None, &[(KEY_VARIABLE, "")]).expect("nothing is wrong"), None);
        let CommandError::Call(error) = no_key() else {
            panic!("another kind of error")
        };
        assert_eq!(
            (error.code, error.reason.as_str()),
            (Code::Unauthenticated, "MISSING_CREDENTIAL")
        );
        assert!(error.message.contains(KEY_VARIABLE), "{error}");
    }

    #[test]
    fn a_file_without_a_key_is_named() {
        let empty = file(" \n");
        for path in [empty.path(), Path::new("/nonexistent/key")] {
            let Err(CommandError::Other(sentence)) = key(Some(path), &[(KEY_VARIABLE, "direct")]) else {
                panic!("{path:?}")
            };
            assert!(sentence.contains(path.to_str().expect("text")), "{sentence}");
        }
    }
}
