//! The floors: what a call costs that does nothing.
//!
//! Both serve the same unary echo, written as tonic's generator writes a method. Its request and its response have the
//! sizes of Verify's. One is served by tonic's own server with its defaults on tokio's multi_thread runtime, as in
//! tonic's examples; the other by tokend's transport. Both have tokend's allocator.

#![expect(clippy::print_stdout, reason = "the benchmark reads the address from stdout")]

mod echo;

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use tokend_core::time::Clock;
use tokend_server::{
    tls,
    transport::{self, TransportSettings},
};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};

use self::echo::Echo;
pub use self::echo::{PATH, message_of_size};
use crate::BoxError;

/// Serves a floor on a free loopback port, until stdin ends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What serves the calls
    kind: Kind,
    /// The size of a response in bytes
    #[arg(long)]
    response: usize,
    /// The certificate, if TLS is to be served
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// What serves the calls of a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// tonic's own server on tokio's multi_thread runtime.
    Tonic,
    /// tokend's transport.
    Loop,
}

/// Runs the command. Prints the address first.
///
/// # Errors
/// The address or the certificate can't be used.
pub fn run(args: &Args) -> Result<(), BoxError> {
    let runtime = match args.kind {
        Kind::Tonic => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        // As `tokend serve`: the transport has threads of its own, and this one accepts.
        Kind::Loop => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<(), BoxError> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr()?;
    let echo = Echo::new(args.response);
    let files = args.tls_cert.clone().zip(args.tls_key.clone());
    match args.kind {
        Kind::Tonic => {
            let mut server = Server::builder();
            if let Some((certificate, key)) = files {
                let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
                server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
            }
            println!("{address}");
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server
                .add_service(echo)
                .serve_with_incoming_shutdown(incoming, end_of_stdin())
                .await?;
        }
        Kind::Loop => {
            let tls = files
                .map(|(certificate, key)| {
                    let files = tls::TlsFiles {
                        certificate,
                        key,
                        client_ca: None,
                    };
                    tls::Acceptor::new(&files, &Clock::system())
                })
                .transpose()?;
            let settings = TransportSettings {
                tls,
                // Nobody authenticates here, and connections are not to be closed for that.
                max_unauthenticated: TransportSettings::default().max_connections,
                max_unauthenticated_per_source: TransportSettings::default().max_connections,
                ..TransportSettings::default()
            };
            println!("{address}");
            transport::serve(listener, echo, settings, end_of_stdin()).await?;
        }
    }
    Ok(())
}

/// Completes when stdin ends, which is when the benchmark has ended for whatever reason.
async fn end_of_stdin() {
    let (ended, end) = oneshot::channel();
    // A thread that the runtime does not wait for.
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let _ = end.await;
}
