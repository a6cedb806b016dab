//! TLS on the gRPC port: TLS 1.3, HTTP/2 by ALPN, and client certificates if there is a CA for them.
//!
//! ```text
//! files --look--> Contents --build--> Generation --> Acceptor --> each new connection
//!   ^---------------------- Follower, every few seconds ---'
//! ```
//!
//! A connection keeps the generation that it began with: a new certificate cuts nothing. The exception is the client CA. When it is
//! replaced, the connections that were opened with a client certificate are asked to go (GOAWAY) and come back under the new one.
//!
//! Sessions are never resumed. Connections here are few and long, so that a resumption saves little, and it would go by what was
//! verified earlier: a certificate that has expired since, or a CA that is trusted no more.

mod contents;
mod follow;
mod generation;
mod identity;

pub use contents::{Part, TlsError, TlsFiles};
pub use generation::Acceptor;
pub use identity::ClientCertificate;

pub(crate) use follow::{Follower, Gauges};
pub(crate) use generation::Wall;
