//! Addresses of the service, and the servers behind them.

use std::net::{IpAddr, SocketAddr};

use tonic::transport::{Endpoint, Uri};

use super::ConnectError;
use crate::{CONNECT_TIMEOUT, tls::Tls};

/// How often an open call makes sure that its connection still works, and how long that may take.
const KEEP_ALIVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// An address as the user wrote it: a host's name or IP address, and a port.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// The text that the user wrote, for errors.
    pub(crate) text: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    endpoint: Endpoint,
}

impl Address {
    /// Parses `host:port`, `https://host:port` or `http://host:port`.
    ///
    /// # Errors
    /// [`ConnectError`] if the text is something else, or has no TLS although `tls` was chosen.
    pub(crate) fn parse(text: &str, tls: &Tls) -> Result<Self, ConnectError> {
        let no_address = || ConnectError::Address(text.to_owned());
        let uri = if text.contains("://") {
            text.to_owned()
        } else if tls.is_chosen() {
            format!("https://{text}")
        } else {
            format!("http://{text}")
        };
        let endpoint = Endpoint::from_shared(uri).map_err(|_| no_address())?;
        let (Some(host), Some(port)) = (endpoint.uri().host(), endpoint.uri().port_u16()) else {
            return Err(no_address());
        };
        // Certificates contain IPv6 addresses without the brackets of a URI.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match endpoint.uri().scheme_str() {
            Some("http") if tls.is_chosen() => return Err(ConnectError::NotTls(text.to_owned())),
            Some("http" | "https") => {}
            _ => return Err(no_address()),
        }
        let address = Self {
            text: text.to_owned(),
            host,
            port,
            endpoint,
        };
        let endpoint = address.configured(address.endpoint.clone(), tls)?;
        Ok(Self { endpoint, ..address })
    }

    /// Returns whether the host has a name, which may resolve to several servers, and to others later.
    pub(crate) fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// Returns the endpoint that resolves the host itself, whenever it connects.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Returns the endpoint of the server at `server`. Its certificate must be for the host's name, and calls name the
    /// host.
    pub(crate) fn endpoint_of(&self, server: SocketAddr, tls: &Tls) -> Result<Endpoint, ConnectError> {
        let named = self.endpoint.uri();
        let scheme = named.scheme_str().unwrap_or("http");
        let endpoint = Endpoint::from_shared(format!("{scheme}://{server}"))
            .map_err(|_| ConnectError::Address(self.text.clone()))?;
        let origin: Uri = named.clone();
        Ok(self.configured(endpoint, tls)?.origin(origin))
    }

    /// Returns the addresses that the name has now.
    pub(crate) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut servers: Vec<_> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await?
            .collect();
        servers.sort_unstable();
        servers.dedup();
        Ok(servers)
    }

    fn configured(&self, endpoint: Endpoint, tls: &Tls) -> Result<Endpoint, ConnectError> {
        let endpoint = if endpoint.uri().scheme_str() == Some("https") {
            endpoint
                .tls_config(tls.config(&self.host))
                .map_err(|source| ConnectError::Unreachable {
                    address: self.text.clone(),
                    source,
                })?
        } else {
            endpoint
        };
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .tcp_nodelay(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, ConnectError> {
        Address::parse(text, &Tls::default())
    }

    #[test]
    fn names_and_ip_addresses() {
        for (text, host, is_name) in [
            ("127.0.0.1:50051", "127.0.0.1", false),
            ("[::1]:50051", "::1", false),
            ("tokend.internal:50051", "tokend.internal", true),
            ("http://tokend:50051", "tokend", true),
            ("https://tokend:50051", "tokend", true),
        ] {
            let address = parse(text).expect("an address");
            assert_eq!(
                (address.host.as_str(), address.port, address.is_name()),
                (host, 50051, is_name)
            );
        }
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for bad in ["", "tokend", "ftp://tokend:1", "tokend:port", "http://"] {
            assert!(
                matches!(parse(bad), Err(ConnectError::Address(text)) if text == bad),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn calls_to_a_server_name_the_host() {
        let address = parse("https://tokend.internal:50051").expect("an address");
        let server = "[2001:db8::7]:50051".parse().expect("an address");
        let endpoint = address.endpoint_of(server, &Tls::default()).expect("an endpoint");
        assert_eq!(
            endpoint.uri().authority().map(ToString::to_string),
            Some(server.to_string())
        );
        assert_eq!(endpoint.uri().scheme_str(), Some("https"));
    }

    #[tokio::test]
    async fn a_name_is_resolved_to_every_address_once() {
        let servers = parse("localhost:50051")
            .expect("an address")
            .resolve()
            .await
            .expect("resolved");
        assert!(
            !servers.is_empty() && servers.iter().all(|server| server.ip().is_loopback()),
            "{servers:?}"
        );
        assert!(servers.windows(2).all(|pair| pair[0] < pair[1]), "{servers:?}");
    }
}
