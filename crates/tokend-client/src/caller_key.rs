//! Caller keys, and how calls carry them.

use std::fmt;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use zeroize::Zeroizing;

/// A caller key, which is sent with every call. Its header is marked sensitive: it is neither logged nor indexed by
/// header compression.
#[derive(Clone)]
pub struct CallerKey(MetadataValue<Ascii>);

/// The error for text that can't be a caller key. It does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller key has characters that no key has")]
pub struct MalformedCallerKey;

impl CallerKey {
    /// Takes the secret of a key. White space around it and a byte order mark are ignored.
    ///
    /// # Errors
    /// [`MalformedCallerKey`] if a header can't contain the text. Only the service can check whether the key is valid.
    pub fn new(clear: &str) -> Result<Self, MalformedCallerKey> {
        let header = Zeroizing::new(format!(
            "Bearer {}",
            clear.trim_matches(|char: char| char.is_whitespace() || char == '\u{feff}')
        ));
        let mut value: MetadataValue<Ascii> = header.parse().map_err(|_| MalformedCallerKey)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for CallerKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The caller key that a connection sends, if it has one.
#[derive(Clone, Debug)]
pub struct SentKey(pub(crate) Option<CallerKey>);

impl Interceptor for SentKey {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match &mut self.0 {
            Some(key) => key.call(request),
            None => Ok(request),
        }
    }
}

impl fmt::Debug for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerKey(redacted)")
    }
}
