use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{ServerSettings, StartError};

/// The ports of a server, which are taken and not served yet.
pub(super) struct Ports {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) ops_listener: Option<TcpListener>,
    pub(super) ops_address: Option<SocketAddr>,
}

impl Ports {
    pub(super) async fn bind(settings: &ServerSettings) -> Result<Self, StartError> {
        let (listener, address) = bind(settings.listen).await?;
        let (ops_listener, ops_address) = match settings.ops_listen {
            Some(ops_listen) => {
                let (listener, address) = bind(ops_listen).await?;
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        Ok(Self {
            listener,
            address,
            ops_listener,
            ops_address,
        })
    }
}

/// Takes an address. Returns it with the port that was taken, if it said port 0.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
