//! The way of a call to the service: it gets a deadline, a server is chosen for it, and if it fails it is repeated
//! where that is safe.
//!
//! [`rpc`] knows which calls are safe to repeat, [`retry`] when to repeat them, [`balance`] which server gets them, and
//! [`address`] where the servers are. All attempts together keep to the call's deadline.

mod address;
mod balance;
mod deadline;
mod retry;
mod rpc;

pub use retry::Retry;

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use tokend_core::time::Clock;
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};

use crate::{random, tls::Tls};
use address::Address;
use balance::{Balance, Server};
use retry::Failure;
use rpc::Rpc;

/// How often names are resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// The time after its deadline at which a call is ended if it is still running.
const SLACK: Duration = Duration::from_millis(20);
/// The most bytes of a message that is sent or received as a whole. tonic's own limit is lower, but can be raised.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;

/// The error of a connection attempt.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not of the form `host:port`, `https://host:port` or `http://host:port`.
    #[error("{0:?} is not an address; write host:port, or https://host:port for TLS")]
    Address(String),
    /// The address says `http://`, but CAs or a client certificate were given.
    #[error("{0:?} connects without TLS, which ignores certificates; write https:// instead")]
    NotTls(String),
    /// Neither a caller key nor a client certificate was given.
    #[error("neither a caller key nor a client certificate was given")]
    NoCredential,
    /// Nothing answers at the address, or TLS failed.
    #[error("can't reach tokend at {address}: {}", crate::tls::cause(source))]
    Unreachable {
        /// The address.
        address: String,
        /// The cause.
        source: tonic::transport::Error,
    },
}

/// Sends calls to the servers of one installation.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
}

struct Shared {
    addresses: Vec<Address>,
    tls: Tls,
    retry: Retry,
    /// How long a call may take, instead of the RPC's own time.
    deadline: Option<Duration>,
    balance: Balance,
    clock: Clock,
}

/// What a transport is made of.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) addresses: Vec<String>,
    pub(crate) tls: Tls,
    pub(crate) retry: Retry,
    pub(crate) deadline: Option<Duration>,
}

impl Transport {
    /// Prepares connections. The first call opens one.
    ///
    /// # Errors
    /// An address is malformed.
    pub(crate) async fn lazy(settings: Settings) -> Result<Self, ConnectError> {
        let (addresses, servers) = servers(&settings).await?;
        let servers = servers
            .into_iter()
            .map(|(at, endpoint, _)| Server::lazy(at, endpoint))
            .map(Arc::new);
        Ok(Self::new(settings, addresses, servers.collect()))
    }

    /// Opens connections to all servers, and returns once one is open.
    ///
    /// # Errors
    /// An address is malformed, or no server can be reached: the error of the first address.
    pub(crate) async fn connect(settings: Settings) -> Result<Self, ConnectError> {
        let (addresses, found) = servers(&settings).await?;
        let mut attempts: FuturesUnordered<_> = found
            .iter()
            .enumerate()
            .map(async |(index, (_, endpoint, _))| (index, endpoint.connect().await))
            .collect();
        let mut failed = Vec::new();
        let opened = loop {
            match attempts.next().await {
                Some((index, Ok(channel))) => break (index, channel),
                Some((index, Err(error))) => failed.push((index, error)),
                None => {
                    failed.sort_by_key(|(index, _)| *index);
                    let Some((index, source)) = failed.into_iter().next() else {
                        return Err(ConnectError::Address(String::new()));
                    };
                    let address = found[index].2.clone();
                    return Err(ConnectError::Unreachable { address, source });
                }
            }
        };
        drop(attempts);
        let (first, channel) = opened;
        let servers = found.into_iter().enumerate().map(|(index, (at, endpoint, _))| {
            if index == first {
                Arc::new(Server::connected(at, endpoint, channel.clone()))
            } else {
                Server::connecting(at, endpoint)
            }
        });
        let servers = servers.collect();
        Ok(Self::new(settings, addresses, servers))
    }

    fn new(settings: Settings, addresses: Vec<Address>, servers: Vec<Arc<Server>>) -> Self {
        let Settings {
            addresses: _,
            tls,
            retry,
            deadline,
        } = settings;
        let has_names = addresses.iter().any(Address::is_name);
        let shared = Arc::new(Shared {
            addresses,
            tls,
            retry,
            deadline,
            balance: Balance::new(servers),
            clock: Clock::system(),
        });
        if has_names {
            tokio::spawn(resolve_again(Arc::downgrade(&shared)));
        }
        Self { shared }
    }
}

type Found = (Option<std::net::SocketAddr>, tonic::transport::Endpoint, String);

/// Returns the addresses, and the servers that they stand for now. A name that can't be resolved stands for a server
/// whose connection attempts resolve it again.
async fn servers(settings: &Settings) -> Result<(Vec<Address>, Vec<Found>), ConnectError> {
    let listed = settings.addresses.iter().flat_map(|list| list.split(','));
    let addresses: Vec<_> = listed
        .map(|text| Address::parse(text.trim(), &settings.tls))
        .collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for address in &addresses {
        let resolved = address.resolve().await.unwrap_or_default();
        if resolved.is_empty() {
            found.push((None, address.endpoint(), address.text.clone()));
        }
        for server in resolved {
            let endpoint = address.endpoint_of(server, &settings.tls)?;
            found.push((Some(server), endpoint, address.text.clone()));
        }
    }
    Ok((addresses, found))
}

/// Resolves names from time to time, for as long as the transport is used.
async fn resolve_again(transport: Weak<Shared>) {
    loop {
        tokio::time::sleep(RESOLVE_INTERVAL.mul_f64(0.75 + random::fraction() / 4.0)).await;
        let Some(shared) = transport.upgrade() else { return };
        let mut servers = Vec::new();
        for address in &shared.addresses {
            // The servers stay as they are if a name can't be resolved now.
            let Ok(resolved) = address.resolve().await else { break };
            servers.extend(resolved.into_iter().map(|server| (address, server)));
        }
        let all_resolved = |address: &Address| servers.iter().any(|(of, _)| of.text == address.text);
        if shared.addresses.iter().all(all_resolved) {
            let endpoints = servers
                .iter()
                .filter_map(|(address, server)| Some((*server, address.endpoint_of(*server, &shared.tls).ok()?)));
            shared.balance.replace(endpoints);
        }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A connection's readiness is awaited when a server has been chosen.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.send(request).await })
    }
}

impl Shared {
    /// Sends a call and returns its response, both within the call's deadline. Of a stream, only the beginning of the
    /// response has a deadline.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let rpc = Rpc::at(request.uri().path());
        let own = self.deadline.unwrap_or_else(|| rpc.deadline());
        let deadline = deadline::requested(request.headers()).unwrap_or(own);
        let too_late = || Status::deadline_exceeded(format!("the service did not respond within {deadline:?}"));
        let sent = async {
            let (parts, body) = request.into_parts();
            if rpc.is_stream() {
                return self.attempt(parts, body).await.map_err(|(error, _)| error);
            }
            let body = Limited::new(body, MAX_MESSAGE).collect().await?.to_bytes();
            self.send_unary(rpc, parts, body, deadline).await
        };
        // An attempt keeps to the timeout in its headers, and says which server did not respond.
        match tokio::time::timeout(deadline + SLACK, sent).await {
            Ok(Err(error)) if Failure::of_error(&*error) == Failure::TimedOut => Err(too_late().into()),
            Ok(outcome) => outcome,
            Err(_) => Err(too_late().into()),
        }
    }

    async fn send_unary(
        &self,
        rpc: Rpc,
        mut parts: Parts,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Response<Body>, BoxError> {
        let may_be_repeated = rpc.may_be_repeated(&body);
        let began = self.clock.boot_time();
        let mut failed = 0;
        loop {
            let left = deadline.saturating_sub(self.clock.boot_time().saturating_since(began));
            deadline::set(&mut parts.headers, left);
            let outcome = self.attempt(parts.clone(), Body::new(Full::new(body.clone()))).await;
            let outcome = match outcome {
                Ok(response) => whole(response).await,
                failed => failed,
            };
            failed += 1;
            let failure = match &outcome {
                Ok(response) => Failure::of_status(response.headers()),
                Err((_, failure)) => Some(*failure),
            };
            let outcome = outcome.map_err(|(error, _)| error);
            let pause = match failure {
                None | Some(Failure::Final | Failure::TimedOut) => return outcome,
                Some(Failure::NeverSent) => self.pause_to_connect(failed),
                Some(Failure::Unavailable { retry_after }) if may_be_repeated => self.shared_pause(failed, retry_after),
                Some(Failure::Unavailable { .. }) => return outcome,
            };
            let left = deadline.saturating_sub(self.clock.boot_time().saturating_since(began));
            match pause {
                Some(pause) if pause < left => tokio::time::sleep(pause).await,
                _ => return outcome,
            }
        }
    }

    fn shared_pause(&self, failed: u32, wanted: Option<Duration>) -> Option<Duration> {
        self.retry.pause_after(failed, wanted, random::fraction())
    }

    /// Returns the pause after `failed` attempts that reached no server. Every server is tried at once.
    fn pause_to_connect(&self, failed: u32) -> Option<Duration> {
        let servers = u32::try_from(self.balance.counts().0).unwrap_or(u32::MAX);
        if failed < servers {
            return Some(Duration::ZERO);
        }
        self.retry.pause_after(failed - servers + 1, None, random::fraction())
    }

    /// Makes one attempt, to one server.
    async fn attempt(&self, parts: Parts, body: Body) -> Result<Response<Body>, (BoxError, Failure)> {
        let Some(chosen) = self.balance.choose() else {
            return Err((
                Status::unavailable("the service has no address").into(),
                Failure::NeverSent,
            ));
        };
        let sent = chosen.channel().oneshot(Request::from_parts(parts, body)).await;
        sent.map_err(|error| {
            let failure = Failure::of_error(&error);
            if matches!(failure, Failure::NeverSent | Failure::TimedOut) {
                self.balance.take_down(&chosen);
            }
            (error.into(), failure)
        })
    }
}

/// Waits for the whole response of a unary call, and puts a status at its end into its headers, where it would be
/// without a message.
async fn whole(response: Response<Body>) -> Result<Response<Body>, (BoxError, Failure)> {
    let (mut parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_MESSAGE).collect().await.map_err(|error| {
        let failure = Failure::of_error(&*error);
        (error, failure)
    })?;
    if let Some(trailers) = body.trailers()
        && Failure::of_status(trailers).is_some()
    {
        parts.headers.extend(trailers.clone());
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    Ok(Response::from_parts(parts, Body::new(body)))
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.shared.addresses.iter().map(|address| &address.text).collect();
        f.debug_struct("Transport")
            .field("addresses", &addresses)
            .field("retry", &self.shared.retry)
            .finish_non_exhaustive()
    }
}
