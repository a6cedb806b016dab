//! The client: a transport, a credential, and a typed client for each service.

use std::time::Duration;

use tonic::service::interceptor::InterceptedService;

use crate::{
    CallerKey, SentKey, Tls,
    transport::{ConnectError, Retry, Settings, Transport},
    v1::{
        audit_log_client::AuditLogClient, caller_admin_client::CallerAdminClient, token_admin_client::TokenAdminClient,
        token_verify_client::TokenVerifyClient, workspace_admin_client::WorkspaceAdminClient,
    },
};

/// A transport that sends the caller key with every call.
pub type Authenticated = InterceptedService<Transport, SentKey>;

/// A connection to tokend as one caller. Clones are cheap and share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Authenticated,
}

/// The settings of a connection.
#[derive(Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    settings: Settings,
    key: Option<CallerKey>,
}

impl Client {
    /// Connects to `address`, such as `host:port`, with a caller key. `https://host:port` uses TLS and trusts the CAs
    /// of the system. Several addresses are separated by commas; calls are spread over them.
    ///
    /// # Errors
    /// [`ConnectError`] if the address is malformed or nothing answers. The key is checked with the first call.
    pub async fn connect(address: &str, key: &CallerKey) -> Result<Self, ConnectError> {
        Self::builder(address).key(key).connect().await
    }

    /// Connects with a caller key, with the client certificate in `tls`, or with both. Uses TLS if the address says
    /// `https://`, or if it has no scheme and `tls` has CAs or a certificate.
    ///
    /// # Errors
    /// [`ConnectError`] as for [`connect`](Self::connect). The service checks key and client certificate with the first
    /// call.
    pub async fn connect_with(address: &str, key: Option<&CallerKey>, tls: &Tls) -> Result<Self, ConnectError> {
        let builder = Self::builder(address).tls(tls);
        match key {
            Some(key) => builder.key(key),
            None => builder,
        }
        .connect()
        .await
    }

    /// Returns the settings of a connection to `address`: one address as in [`connect`](Self::connect), or several,
    /// separated by commas. A name that resolves to several addresses stands for all of them, and is resolved again
    /// twice a minute.
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            settings: Settings {
                addresses: vec![address.into()],
                tls: Tls::default(),
                retry: Retry::default(),
                deadline: None,
            },
            key: None,
        }
    }

    /// Returns the client of `TokenVerify`, which verifies tokens.
    #[must_use]
    pub fn token_verify(&self) -> TokenVerifyClient<Authenticated> {
        TokenVerifyClient::new(self.transport.clone())
    }

    /// Returns the client of `TokenAdmin`, which creates, lists, rotates and revokes tokens.
    #[must_use]
    pub fn token_admin(&self) -> TokenAdminClient<Authenticated> {
        TokenAdminClient::new(self.transport.clone())
    }

    /// Returns the client of `WorkspaceAdmin`, which manages workspaces, organizations and token policies.
    #[must_use]
    pub fn workspace_admin(&self) -> WorkspaceAdminClient<Authenticated> {
        WorkspaceAdminClient::new(self.transport.clone())
    }

    /// Returns the client of `CallerAdmin`, which manages callers and their keys.
    #[must_use]
    pub fn caller_admin(&self) -> CallerAdminClient<Authenticated> {
        CallerAdminClient::new(self.transport.clone())
    }

    /// Returns the client of `AuditLog`, which reads the audit log.
    #[must_use]
    pub fn audit_log(&self) -> AuditLogClient<Authenticated> {
        AuditLogClient::new(self.transport.clone())
    }
}

impl ClientBuilder {
    /// Adds an address.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.settings.addresses.push(address.into());
        self
    }

    /// Authenticates with this caller key.
    pub fn key(mut self, key: &CallerKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// Sets CAs and a client certificate. With either, addresses without a scheme use TLS.
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.settings.tls = tls.clone();
        self
    }

    /// Sets how failed calls are repeated.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// Sets how long a call may take, with all its attempts, unless its request says otherwise. By default, this is 5
    /// seconds for verifications and 60 seconds for all other calls. A stream has to begin within this time.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = Some(deadline);
        self
    }

    /// Opens connections to all servers, and returns once one is open. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`] if there is no credential, an address is malformed, or nothing answers.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let (settings, key) = self.checked()?;
        Ok(Client::over(Transport::connect(settings).await?, key))
    }

    /// Prepares connections, which the first calls open: a service can start while tokend can't be reached. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`] if there is no credential or an address is malformed.
    pub async fn connect_lazy(self) -> Result<Client, ConnectError> {
        let (settings, key) = self.checked()?;
        Ok(Client::over(Transport::lazy(settings).await?, key))
    }

    fn checked(self) -> Result<(Settings, Option<CallerKey>), ConnectError> {
        let Self { settings, key } = self;
        if key.is_none() && !settings.tls.has_identity() {
            return Err(ConnectError::NoCredential);
        }
        Ok((settings, key))
    }
}

impl Client {
    fn over(transport: Transport, key: Option<CallerKey>) -> Self {
        Self {
            transport: InterceptedService::new(transport, SentKey(key)),
        }
    }
}
