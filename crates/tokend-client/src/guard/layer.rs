//! The tower layer: it asks the guard before it passes a request on.

use std::{
    fmt,
    future::Future,
    mem,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use tonic::server::NamedService;
use tower::{Layer, Service};

use super::{Access, Denied, Routing, TokenGuard, VerifiedToken, bearer, response::is_grpc, stats::add};

/// A layer that lets requests through only with a token that permits them. Created by [`TokenGuard::layer`].
#[derive(Clone)]
pub struct GuardLayer {
    rules: Arc<Rules>,
}

/// A service behind a [`GuardLayer`].
#[derive(Clone)]
pub struct Guarded<S> {
    rules: Arc<Rules>,
    inner: S,
}

/// Returns the address of a request's client.
type ClientAddress = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

#[derive(Clone)]
struct Rules {
    guard: TokenGuard,
    routing: Arc<dyn Routing + Send + Sync>,
    client_address: Arc<ClientAddress>,
    mode: Mode,
}

/// What happens to a request that is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Enforce,
    Shadow,
}

impl GuardLayer {
    pub(super) fn new(guard: TokenGuard, routing: impl Routing + Send + Sync + 'static) -> Self {
        Self {
            rules: Arc::new(Rules {
                guard,
                routing: Arc::new(routing),
                client_address: Arc::new(|_| None),
                mode: Mode::Enforce,
            }),
        }
    }

    /// Sets where the client's address comes from, for tokens that are limited to networks. Without it, or if it
    /// returns nothing, such tokens are denied. Behind a proxy, the peer's address is the proxy's; take a header only
    /// if a proxy that you trust always sets it.
    #[must_use]
    pub fn client_address(self, address: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.client_address = Arc::new(address))
    }

    /// Lets every request through, and counts those that would have been denied, in
    /// [`GuardStats::shadow_denied`](super::GuardStats::shadow_denied). A request that would have been denied has no
    /// [`VerifiedToken`] in its extensions, but the [`Denied`].
    #[must_use]
    pub fn shadow(self) -> Self {
        self.with(|rules| rules.mode = Mode::Shadow)
    }

    fn with(self, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Arc::unwrap_or_clone(self.rules);
        change(&mut rules);
        Self { rules: Arc::new(rules) }
    }
}

impl Rules {
    /// Decides about a request: `Ok(None)` if it needs no token.
    async fn check(&self, parts: &Parts) -> Result<Option<VerifiedToken>, Denied> {
        let (resource, scopes) = match self.routing.access(parts) {
            Access::Public => return Ok(None),
            Access::Unmapped => return Err(Denied::UnmappedRoute),
            Access::Token { resource, scopes } => (resource, scopes),
        };
        let token = bearer::token(&parts.headers)?;
        let address = (self.client_address)(parts);
        self.guard.decide(token, resource, scopes, address).await.map(Some)
    }

    /// Counts a decision, and returns the reason if the request must not be served.
    async fn admit(&self, parts: &mut Parts) -> Result<(), Denied> {
        // Nobody but this guard may say that a token was verified.
        parts.extensions.remove::<VerifiedToken>();
        let counters = &self.guard.shared.counters;
        match (self.check(parts).await, self.mode) {
            (Ok(None), _) => Ok(()),
            (Ok(Some(token)), _) => {
                add(&counters.allowed, 1);
                parts.extensions.insert(token);
                Ok(())
            }
            (Err(denied), Mode::Enforce) => {
                counters.denied.count(denied.kind());
                Err(denied)
            }
            (Err(denied), Mode::Shadow) => {
                counters.shadow_denied.count(denied.kind());
                parts.extensions.insert(denied);
                Ok(())
            }
        }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            rules: Arc::clone(&self.rules),
            inner,
        }
    }
}

impl<S, I, O> Service<Request<I>> for Guarded<S>
where
    S: Service<Request<I>, Response = Response<O>> + Clone + Send + 'static,
    S::Future: Send,
    I: Send + 'static,
    O: Default,
{
    type Response = Response<O>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<O>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let rules = Arc::clone(&self.rules);
        // The service that is ready, not its clone, gets the request.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match rules.admit(&mut parts).await {
                Ok(()) => inner.call(Request::from_parts(parts, body)).await,
                Err(denied) => Ok(denied.to_response(is_grpc(&parts.headers))),
            }
        })
    }
}

/// A guarded tonic service keeps its name, so that a server can route to it.
impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("mode", &self.rules.mode)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
