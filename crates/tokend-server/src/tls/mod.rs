//! Serves TLS on the gRPC port: TLS 1.3, HTTP/2 by ALPN, and client certificates if there is a CA for them.
//!
//! ```text
//! files --look--> Contents --build--> Generation --> Acceptor --> each new connection
//!   ^---------------------- Follower, every second --------'
//! ```
//!
//! A connection keeps the generation that it began with, so that a new certificate cuts no connection. The exception is
//! the client CA. When it is replaced, connections that were opened with a client certificate get a GOAWAY, and clients
//! reconnect with a certificate of the new CA.
//!
//! Sessions are never resumed. Connections are few and long, so that a resumption saves little, and it would rely on an
//! earlier verification: the certificate may have expired since, and the CA may have been replaced.

mod contents;
mod follow;
mod generation;
mod identity;

pub use contents::{Part, TlsError, TlsFiles};
pub use generation::Acceptor;
pub use identity::ClientCertificate;

pub(crate) use follow::{Follower, Gauges};
pub(crate) use generation::Wall;
