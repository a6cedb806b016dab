use std::fmt;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use zeroize::Zeroizing;

/// A caller key, sent with every call. Marked sensitive, so that it is never logged nor indexed by header compression.
#[derive(Clone)]
pub struct CallerKey(MetadataValue<Ascii>);

/// Text that can't be a caller key. Does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller key has characters that no key has")]
pub struct MalformedCallerKey;

impl CallerKey {
    /// Takes a key in clear; white space around it, and a byte order mark, are ignored.
    ///
    /// # Errors
    /// [`MalformedCallerKey`] for text that no header can carry. Whether it is a good key only the service can tell.
    pub fn new(clear: &str) -> Result<Self, MalformedCallerKey> {
        let header =
            Zeroizing::new(format!("Bearer {}", clear.trim_matches(|char: char| char.is_whitespace() || char == '\u{feff}')));
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

/// The key that goes with every call, if one does.
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
