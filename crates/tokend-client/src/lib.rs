//! tokend's client: connects with a caller key and hands out the contract's typed clients.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tokend_client::{CallerKey, Client, v1};
//!
//! let client = Client::connect("127.0.0.1:50051", &CallerKey::new("tkdc_...")?).await?;
//! let verdict = client
//!     .token_verify()
//!     .verify(v1::VerifyRequest {
//!         token: "tkdw_...".to_owned(),
//!         resource: "workspaces/acme/repositories/site".to_owned(),
//!         required_scopes: vec!["repository:write".to_owned()],
//!         ..Default::default()
//!     })
//!     .await?
//!     .into_inner();
//! assert_eq!(verdict.decision(), v1::Decision::Allow);
//! # Ok(())
//! # }
//! ```

mod caller_key;
mod failure;
mod tls;

pub use caller_key::{CallerKey, MalformedCallerKey, SentKey};
pub use failure::{Failure, FieldFailure, PreconditionFailure};
pub use tls::{Tls, TlsMaterialError};
pub use tokend_proto::v1;

use std::time::Duration;

use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use v1::{
    audit_log_client::AuditLogClient, caller_admin_client::CallerAdminClient, token_admin_client::TokenAdminClient,
    token_verify_client::TokenVerifyClient, workspace_admin_client::WorkspaceAdminClient,
};

/// A channel that authenticates every call.
pub type Authenticated = InterceptedService<Channel, SentKey>;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take: longer than any that the service lets run, so that only a service that hangs is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to tokend on behalf of one caller. Cheap to clone; calls share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Authenticated,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `host:port`, with `https://` or `http://` before it or not.
    #[error("{0:?} is no address; write host:port, or https://host:port for TLS")]
    Address(String),
    /// The address asks for a connection in clear, and TLS was chosen.
    #[error("{0} is an address without TLS, where no certificates are looked at; write https://")]
    NotTls(String),
    /// Neither a key nor a client certificate.
    #[error("there is nothing to authenticate with: neither a caller key nor a client certificate")]
    NoCredential,
    /// Nothing answers there, or TLS failed.
    #[error("can't reach tokend at {address}: {}", tls::cause(source))]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

impl Client {
    /// Connects to `address`, a `host:port`, as the caller whose key this is. `https://host:port` goes over TLS and trusts the system's
    /// CAs.
    ///
    /// # Errors
    /// [`ConnectError`] if the address is none or nothing answers there. Whether the key is good shows in the first call.
    pub async fn connect(address: &str, key: &CallerKey) -> Result<Self, ConnectError> {
        Self::connect_with(address, Some(key), &Tls::default()).await
    }

    /// Connects as the caller whose key this is, or for whom the client certificate in `tls` stands, or both. Goes over TLS if the
    /// address says `https://`, or if it says nothing and `tls` names CAs or a certificate.
    ///
    /// # Errors
    /// [`ConnectError`] as of [`connect`](Self::connect). Whether key and client certificate are good shows in the first call.
    pub async fn connect_with(address: &str, key: Option<&CallerKey>, tls: &Tls) -> Result<Self, ConnectError> {
        if key.is_none() && !tls.has_identity() {
            return Err(ConnectError::NoCredential);
        }
        let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
        let channel = endpoint(address, tls)?.connect().await.map_err(unreachable)?;
        Ok(Self { channel: InterceptedService::new(channel, SentKey(key.cloned())) })
    }

    /// Asks for verdicts.
    #[must_use]
    pub fn token_verify(&self) -> TokenVerifyClient<Authenticated> {
        TokenVerifyClient::new(self.channel.clone())
    }

    /// Issues, shows, rotates and revokes tokens.
    #[must_use]
    pub fn token_admin(&self) -> TokenAdminClient<Authenticated> {
        TokenAdminClient::new(self.channel.clone())
    }

    /// Makes, shows, suspends and deletes workspaces; makes and shows organizations.
    #[must_use]
    pub fn workspace_admin(&self) -> WorkspaceAdminClient<Authenticated> {
        WorkspaceAdminClient::new(self.channel.clone())
    }

    /// Makes and shows callers.
    #[must_use]
    pub fn caller_admin(&self) -> CallerAdminClient<Authenticated> {
        CallerAdminClient::new(self.channel.clone())
    }

    /// Tells what was done.
    #[must_use]
    pub fn audit_log(&self) -> AuditLogClient<Authenticated> {
        AuditLogClient::new(self.channel.clone())
    }
}

fn endpoint(address: &str, tls: &Tls) -> Result<Endpoint, ConnectError> {
    let no_address = || ConnectError::Address(address.to_owned());
    let uri = match address.contains("://") {
        true => address.to_owned(),
        false if tls.is_chosen() => format!("https://{address}"),
        false => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| no_address())?;
    let (Some(host), Some(_)) = (endpoint.uri().host(), endpoint.uri().port_u16()) else { return Err(no_address()) };
    // A certificate has an IPv6 address without the brackets of a URI.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let endpoint = match endpoint.uri().scheme_str() {
        Some("https") => endpoint
            .tls_config(tls.config(&host))
            .map_err(|source| ConnectError::Unreachable { address: address.to_owned(), source })?,
        Some("http") if tls.is_chosen() => return Err(ConnectError::NotTls(address.to_owned())),
        Some("http") => endpoint,
        _ => return Err(no_address()),
    };
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT).tcp_nodelay(true))
}
