//! Reads the TLS files as bytes, and defines their errors.

use std::{
    fmt,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokend_core::text::encoding;
use tokio_rustls::rustls::pki_types::pem;
use zeroize::Zeroizing;

use crate::private_file::{self, FORBIDDEN_BITS};

/// The maximum size of a file: hundreds of certificates.
const MAX_BYTES: u64 = 1024 * 1024;

/// The paths of the certificate, the key and the client CA, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by its issuers except the root.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// The CAs whose client certificates are accepted. If absent, the server asks for no client certificates.
    pub client_ca: Option<PathBuf>,
}

/// One of the TLS files.
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
        /// The file's purpose.
        part: Part,
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("can't read the {part} {path}: {source}", path = .path.display())]
    Io {
        /// The file's purpose.
        part: Part,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is too large.
    #[error("the {part} {path} has more than {MAX_BYTES} bytes: it must be something else", path = .path.display())]
    TooLarge {
        /// The file's purpose.
        part: Part,
        /// The file.
        path: PathBuf,
    },
    /// Other users may read the key.
    #[error(
        "the private key {path} has mode {mode:04o}, so that others can use it; run `chmod 600` on it",
        path = .path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is not PEM.
    #[error("the {part} {path} can't be read as PEM: {source}", path = .path.display())]
    NotPem {
        /// The file's purpose.
        part: Part,
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        source: pem::Error,
    },
    /// The file holds no certificate or key.
    #[error("{path} holds no {part} in PEM; it must begin with {begin}", path = .path.display(), begin = .part.begin())]
    Empty {
        /// The file's purpose.
        part: Part,
        /// The file.
        path: PathBuf,
    },
    /// The certificate or key in the file can't be used.
    #[error("the {part} in {path} can't be used: {problem}", path = .path.display())]
    Unusable {
        /// The file's purpose.
        part: Part,
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        problem: String,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the private key {key} does not belong to the first certificate in {certificate}; give the key of that \
         certificate, and put the server's own certificate first",
        key = .key.display(),
        certificate = .certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Part {
    /// Returns the flag that names the file.
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

/// The contents of the files at one time.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Reads the files.
    pub(super) fn look(&self) -> Result<Contents, TlsError> {
        let Self {
            certificate,
            key,
            client_ca,
        } = self;
        Ok(Contents {
            certificate: read(Part::Certificate, certificate)?.to_vec(),
            key: read(Part::Key, key)?,
            client_ca: client_ca
                .as_deref()
                .map(|path| Ok::<_, TlsError>(read(Part::ClientCa, path)?.to_vec()))
                .transpose()?,
        })
    }
}

fn read(part: Part, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => TlsError::Missing {
            part,
            path: path.to_owned(),
        },
        _ => TlsError::Io {
            part,
            path: path.to_owned(),
            source,
        },
    };
    let (file, metadata) = private_file::open(path).map_err(io)?;
    let mode = metadata.mode() & 0o777;
    if part == Part::Key && mode & FORBIDDEN_BITS != 0 {
        return Err(TlsError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    // A buffer that grows leaves copies of the key in memory, so it gets its size up front.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0) + 1,
    ));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(TlsError::TooLarge {
            part,
            path: path.to_owned(),
        });
    }
    // Bytes that are not text are not PEM either, which the parser reports.
    Ok(match encoding::decode(&bytes) {
        Ok(mut text) => Zeroizing::new(std::mem::take(&mut *text).into_bytes()),
        Err(encoding::NotText) => bytes,
    })
}
