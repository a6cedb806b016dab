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

pub use caller_key::{CallerKey, MalformedCallerKey};
pub use failure::{Failure, FieldFailure};
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
pub type Authenticated = InterceptedService<Channel, CallerKey>;

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
    /// The address is not `host:port` or `http://host:port`.
    #[error("{0:?} is no address; write host:port")]
    Address(String),
    /// Nothing answers there.
    #[error("can't reach tokend at {address}: {}", root_cause(source))]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

impl Client {
    /// Connects to `address`, a `host:port`, as the caller whose key this is.
    ///
    /// # Errors
    /// [`ConnectError`] if the address is none or nothing answers there. Whether the key is good shows in the first call.
    pub async fn connect(address: &str, key: &CallerKey) -> Result<Self, ConnectError> {
        let channel = endpoint(address)?
            .connect()
            .await
            .map_err(|source| ConnectError::Unreachable { address: address.to_owned(), source })?;
        Ok(Self { channel: InterceptedService::new(channel, key.clone()) })
    }

    /// Asks for verdicts.
    #[must_use]
    pub fn token_verify(&self) -> TokenVerifyClient<Authenticated> {
        TokenVerifyClient::new(self.channel.clone())
    }

    /// Issues, shows and revokes tokens.
    #[must_use]
    pub fn token_admin(&self) -> TokenAdminClient<Authenticated> {
        TokenAdminClient::new(self.channel.clone())
    }

    /// Makes and shows workspaces.
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

/// The error at the bottom: "connection refused" rather than "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn endpoint(address: &str) -> Result<Endpoint, ConnectError> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| ConnectError::Address(address.to_owned()))?;
    if endpoint.uri().port_u16().is_none() || endpoint.uri().scheme_str() != Some("http") {
        return Err(ConnectError::Address(address.to_owned()));
    }
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT).tcp_nodelay(true))
}
