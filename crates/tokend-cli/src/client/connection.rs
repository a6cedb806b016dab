use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use tokend_client::{CallerKey, Client};
use tokend_core::{credential::Secret, text_file};
use tonic::Code;
use zeroize::Zeroizing;

use super::tls::TlsArgs;
use crate::failure::Failure;

const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";

const KEY_VARIABLE: &str = "TOKEND_CALLER_KEY";
const KEY_FILE_VARIABLE: &str = "TOKEND_CALLER_KEY_FILE";

/// Which service to ask, and as whom.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// Where the service listens; https://HOST:PORT is over TLS [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT", env = "TOKEND_ADDRESS", help_heading = "Connection")]
    address: Option<String>,
    /// File with the caller key. Without it, the key is taken from the environment: TOKEND_CALLER_KEY is the key itself,
    /// TOKEND_CALLER_KEY_FILE a file with it
    // Not clap's `env`: then a file named in the environment would beat the key given there.
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    caller_key_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl Connection {
    /// Connects as the caller whose key or client certificate was given.
    ///
    /// # Errors
    /// Neither of them, one that can't be read, or no service at the address.
    pub(super) async fn open(&self) -> Result<Client, Failure> {
        let tls = self.tls.read()?;
        let clear = caller_key(self.caller_key_file.as_deref(), |name| std::env::var_os(name))?;
        let key = match clear {
            Some(clear) => Some(CallerKey::new(clear.expose())?),
            None if tls.has_identity() => None,
            None => return Err(no_key()),
        };
        Ok(Client::connect_with(self.address().unwrap_or(DEFAULT_ADDRESS), key.as_ref(), &tls).await?)
    }

    /// Whether an address was given, by the flag or the environment.
    pub(super) fn names_a_server(&self) -> bool {
        self.address().is_some()
    }

    /// An empty variable is as good as none.
    fn address(&self) -> Option<&str> {
        self.address.as_deref().filter(|address| !address.is_empty())
    }
}

/// The key that was given, if one was, in clear: the flag beats the environment, and there a key beats a file.
fn caller_key(file: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Secret>, Failure> {
    if let Some(file) = file {
        return read_key(file).map(Some);
    }
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(clear) = set(KEY_VARIABLE) {
        let clear = clear.into_string().map_err(|_| Failure::Other(format!("{KEY_VARIABLE} is not text")))?;
        return Ok(Some(Secret::new(clear)));
    }
    set(KEY_FILE_VARIABLE).map(|file| read_key(Path::new(&file))).transpose()
}

fn read_key(file: &Path) -> Result<Secret, Failure> {
    let fault =
        |error: &dyn std::fmt::Display| Failure::Other(format!("can't read the caller key from {}: {error}", file.display()));
    let bytes = Zeroizing::new(fs::read(file).map_err(|error| fault(&error))?);
    let mut clear = text_file::decode(&bytes).map_err(|error| fault(&error))?;
    let key = Secret::new(std::mem::take(&mut *clear));
    if key.expose().trim().is_empty() {
        return Err(Failure::Other(format!("there is no caller key in {}: it is empty", file.display())));
    }
    Ok(key)
}

/// What the service would answer to a call without a key, said before one is made.
fn no_key() -> Failure {
    Failure::Call(tokend_client::Failure {
        code: Code::Unauthenticated,
        reason: "MISSING_CREDENTIAL".to_owned(),
        message: format!(
            "no caller key was given: set {KEY_VARIABLE}, name a file with --caller-key-file, or give a client certificate"
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

    fn key(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Option<String>, Failure> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        caller_key(file, |name| variables.get(name).map(OsString::from)).map(|key| key.map(|key| key.expose().to_owned()))
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content.as_bytes()).expect("written");
        file
    }

    #[test]
    fn the_flag_beats_the_key_beats_the_file_variable() {
        let (flagged, named) = (file("flagged"), file("named"));
        let named = named.path().to_str().expect("text");
        let both = [(KEY_VARIABLE, "direct"), (KEY_FILE_VARIABLE, named)];
        assert_eq!(key(Some(flagged.path()), &both).expect("a key").as_deref(), Some("flagged"));
        assert_eq!(key(None, &both).expect("a key").as_deref(), Some("direct"));
        assert_eq!(key(None, &[(KEY_VARIABLE, ""), (KEY_FILE_VARIABLE, named)]).expect("a key").as_deref(), Some("named"));
    }

    #[test]
    fn without_a_key_nobody_is_authenticated() {
        assert_eq!(key(None, &[(KEY_VARIABLE, "")]).expect("nothing is wrong"), None);
        let Failure::Call(failure) = no_key() else { panic!("it is not about the caller") };
        assert_eq!((failure.code, failure.reason.as_str()), (Code::Unauthenticated, "MISSING_CREDENTIAL"));
        assert!(failure.message.contains(KEY_VARIABLE), "{failure}");
    }

    #[test]
    fn a_file_that_does_not_help_is_named() {
        let empty = file(" \n");
        for path in [empty.path(), Path::new("/nonexistent/key")] {
            let Err(Failure::Other(sentence)) = key(Some(path), &[(KEY_VARIABLE, "direct")]) else { panic!("{path:?}") };
            assert!(sentence.contains(path.to_str().expect("text")), "{sentence}");
        }
    }
}
