//! The files that TLS is made of, as bytes, and what can be wrong with them.

use std::{
    fmt,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokend_core::text_file;
use tokio_rustls::rustls::pki_types::pem;
use zeroize::Zeroizing;

use crate::private_file::{self, FORBIDDEN_BITS};

/// Most bytes of a file: hundreds of certificates.
const MAX_BYTES: u64 = 1024 * 1024;

/// Where certificate, key and client CA are, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then its issuers but for the root.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// The CAs whose client certificates are accepted. Without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The server's certificate.
    Certificate,
    /// Its private key.
    Key,
    /// The CAs of client certificates.
    ClientCa,
}

/// Why TLS can't be served with these files. Each is one sentence that says what to do; none quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no such file.
    #[error("there is no {part} at {path}; is the path of {flag} right?", flag = .part.flag(), path = .path.display())]
    Missing {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("can't read the {part} {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("the {part} {path} has more than {MAX_BYTES} bytes: it must be something else", path = .path.display())]
    TooLarge {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
    },
    /// Others may read the key.
    #[error("the private key {path} has mode {mode:04o}, so that others can use it; run `chmod 600` on it", path = .path.display())]
    Permissions {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is no PEM.
    #[error("the {part} {path} can't be read as PEM: {source}", path = .path.display())]
    NotPem {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file holds nothing of the kind.
    #[error("{path} holds no {part} in PEM; it must begin with {begin}", path = .path.display(), begin = .part.begin())]
    Empty {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
    },
    /// What the file holds can't be used.
    #[error("the {part} in {path} can't be used: {problem}", path = .path.display())]
    Unusable {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Key and certificate do not belong together.
    #[error(
        "the private key {key} does not belong to the first certificate in {certificate}; give the key of that certificate, and put the server's own certificate first",
        key = .key.display(),
        certificate = .certificate.display()
    )]
    Mismatch {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
    },
}

impl Part {
    /// The setting that names the file.
    const fn flag(self) -> &'static str {
        match self {
            Self::Certificate => "--tls-cert",
            Self::Key => "--tls-key",
            Self::ClientCa => "--client-ca",
        }
    }

    const fn begin(self) -> &'static str {
        match self {
            Self::Certificate | Self::ClientCa => "-----BEGIN CERTIFICATE-----",
            Self::Key => "-----BEGIN PRIVATE KEY-----, and an encrypted key can't be used",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::ClientCa => "client CA",
        })
    }
}

/// What the files hold at some time.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Reads the files, wherever their names lead at this moment.
    pub(super) fn look(&self) -> Result<Contents, TlsError> {
        let Self { certificate, key, client_ca } = self;
        Ok(Contents {
            certificate: read(Part::Certificate, certificate)?.to_vec(),
            key: read(Part::Key, key)?,
            client_ca: client_ca.as_deref().map(|path| Ok::<_, TlsError>(read(Part::ClientCa, path)?.to_vec())).transpose()?,
        })
    }
}

fn read(part: Part, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => TlsError::Missing { part, path: path.to_owned() },
        _ => TlsError::Io { part, path: path.to_owned(), source },
    };
    let (file, metadata) = private_file::open(path).map_err(io)?;
    let mode = metadata.mode() & 0o777;
    if part == Part::Key && mode & FORBIDDEN_BITS != 0 {
        return Err(TlsError::Permissions { path: path.to_owned(), mode });
    }
    // Sized up front: a buffer that grew would leave copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0) + 1));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(TlsError::TooLarge { part, path: path.to_owned() });
    }
    // What is no text holds no PEM, which is found out later.
    Ok(match text_file::decode(&bytes) {
        Ok(mut text) => Zeroizing::new(std::mem::take(&mut *text).into_bytes()),
        Err(text_file::NotText) => bytes,
    })
}
