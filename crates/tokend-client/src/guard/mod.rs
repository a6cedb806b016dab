//! A guard for services: it lets a request through only with a token that permits it, and answers most questions from a
//! cache that a revocation nevertheless reaches.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tokend_client::{CallerKey, Client, guard::{Access, TokenGuard}};
//!
//! let client = Client::connect("tokend:50051", &CallerKey::new("tkdc_...")?).await?;
//! let guard = TokenGuard::new(&client).layer(|request: &http::request::Parts| match request.uri.path() {
//!     "/healthz" => Access::Public,
//!     _ => Access::token("workspaces/acme", ["repository"]),
//! });
//! # let service = axum::Router::<()>::new();
//! let service = service.layer(guard);
//! # Ok(())
//! # }
//! ```
//!
//! [`GuardLayer`] is a tower layer for tonic, axum and whatever else speaks HTTP with tower. It takes the bearer token
//! from the `authorization` header, asks a closure or a table of [`Routes`] what the request needs, verifies, and puts
//! the [`VerifiedToken`] into the request's extensions. Without a token that permits it, a request is answered by
//! UNAUTHENTICATED or PERMISSION_DENIED if it is gRPC, and by 401 or 403 with the headers of RFC 6750 otherwise; in an
//! outage by UNAVAILABLE or 503. A route that is not mapped is denied. [`TokenGuard::verify`] does the same without a
//! layer: it returns the token or a [`Denied`].
//!
//! # The cache
//!
//! The guarantee: a verification that starts after the response to a revocation never allows. What the guard needs for
//! it is a `Watch` stream, over which the server names what changed, and a lease.
//!
//! - The guard pings four times during a lease. A pong renews the lease, counted from when the ping was sent. Without a
//!   running lease, nothing is answered from the cache. Leases run on a clock that counts suspended time.
//! - What the server names is outdated at once. An answer that is older than that, or than the stream, is used once and
//!   not cached.
//! - An entry holds what the service said about a token. The guard allows a further request only if the entry clearly
//!   permits it: it never denies on its own. It finds the entry by a hash of the secret with a random key, not by the
//!   secret.
//! - A cut stream is resumed. When its lease has ended, everything is forgotten.
//! - If the server has no `Watch`, answers are cached for as long as each of them says (`cacheable_for`).
//!
//! Uses of cached tokens are reported to the service within 30 seconds. Call [`TokenGuard::shutdown`] before the
//! process ends, so that the last ones are reported.

mod access;
mod bearer;
mod denied;
mod entries;
mod flight;
mod layer;
mod memory;
mod response;
mod routes;
mod session;
mod stats;
mod stream;
mod token;
mod uses;

pub use access::{Access, Routing};
pub use denied::{Denied, DeniedKind};
pub use layer::{GuardLayer, Guarded};
pub use routes::{MalformedRoute, Routes};
pub use stats::{GuardStats, StreamState};
pub use token::VerifiedToken;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use tokend_core::{
    feed::Revision,
    resource::Resource,
    rule::{self, Rule, is_kept},
    time::Clock,
};
use tokio::sync::watch;
use tonic::Request;

use crate::{
    Client,
    client::Authenticated,
    random,
    v1::{Decision, DenyReason, VerifyRequest, VerifyResponse, token_verify_client::TokenVerifyClient},
};
use denied::{denied_by, denied_by_error};
use entries::Key;
use memory::{Allowed, Memory, Stored};
use session::Current;
use stats::{Counters, add};
use token::{Question, plain_span};
use uses::Uses;

/// How much the cache may hold, unless the builder says otherwise.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// How long a verification may take, unless the builder says otherwise.
const DEADLINE: Duration = Duration::from_secs(2);
/// When a client should try again after an outage, if the service does not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A guard: it verifies tokens, and keeps a cache of them up to date. Clones are cheap and share the cache.
#[derive(Clone)]
pub struct TokenGuard {
    shared: Arc<Shared>,
    running: Arc<Running>,
}

/// The settings of a guard.
#[derive(Debug)]
#[must_use = "a builder does nothing until it starts the guard"]
pub struct GuardBuilder {
    client: TokenVerifyClient<Authenticated>,
    cache_bytes: Option<usize>,
    deadline: Duration,
}

/// What the guard and its background task share.
struct Shared {
    client: TokenVerifyClient<Authenticated>,
    clock: Clock,
    deadline: Duration,
    /// The key of the hashes by which tokens are found. Without it, nothing is cached.
    key: Option<[u8; 32]>,
    max_bytes: usize,
    memory: Current,
    flights: flight::Flights,
    uses: Uses,
    counters: Counters,
}

/// Ends the background task when the last clone of the guard is dropped.
#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    /// Closed when the task has ended.
    has_ended: watch::Receiver<()>,
}

impl TokenGuard {
    /// Creates a guard that asks with this client, with a cache of 32 MiB. Must be called in a tokio runtime.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self::builder(client).start()
    }

    /// Returns the settings of a guard that asks with this client.
    pub fn builder(client: &Client) -> GuardBuilder {
        GuardBuilder {
            client: client.token_verify(),
            cache_bytes: Some(CACHE_BYTES),
            deadline: DEADLINE,
        }
    }

    /// Returns the layer that guards a service. `routing` says what each request needs: a closure or [`Routes`].
    #[must_use]
    pub fn layer(&self, routing: impl Routing + Send + Sync + 'static) -> GuardLayer {
        GuardLayer::new(self.clone(), routing)
    }

    /// Verifies that `token` permits to access `resource` with all of these scopes, from `address` if it is known.
    ///
    /// # Errors
    /// [`Denied`]: the request must not be served. Nobody denied it if it is [`Denied::Unavailable`], but nobody
    /// allowed it either.
    pub async fn verify<S: AsRef<str>>(
        &self,
        token: &str,
        resource: &str,
        scopes: &[S],
        address: Option<IpAddr>,
    ) -> Result<VerifiedToken, Denied> {
        let scopes = scopes.iter().map(|scope| scope.as_ref().to_owned()).collect();
        let outcome = self.decide(token, resource.to_owned(), scopes, address).await;
        match &outcome {
            Ok(_) => add(&self.shared.counters.allowed, 1),
            Err(denied) => self.shared.counters.denied.count(denied.kind()),
        }
        outcome
    }

    /// Returns what the guard has done so far.
    #[must_use]
    pub fn stats(&self) -> GuardStats {
        let (cached_tokens, cached_bytes) = self.shared.memory.load().size();
        GuardStats {
            cached_tokens,
            cached_bytes,
            lost_uses: self.shared.uses.lost(),
            ..self.shared.counters.snapshot()
        }
    }

    /// Reports the uses of cached tokens that were not reported yet, and ends the stream. Takes at most about two
    /// seconds. After that, verifications still work, but are no longer kept up to date by a stream.
    pub async fn shutdown(&self) {
        self.running.stop.send_replace(true);
        let mut has_ended = self.running.has_ended.clone();
        // The sender is never used, only dropped.
        let _ = has_ended.changed().await;
    }

    async fn decide(
        &self,
        token: &str,
        resource: String,
        scopes: Vec<String>,
        address: Option<IpAddr>,
    ) -> Result<VerifiedToken, Denied> {
        let resource = Resource::new(resource).map_err(|_| Denied::MalformedResource)?;
        let question = Question {
            resource,
            scopes,
            address,
        };
        if token.is_empty() || token.len() > bearer::MAX_TOKEN {
            return Err(denied_by(
                DenyReason::Unrecognized,
                &question,
                VerifyResponse::default(),
            ));
        }
        let shared = &self.shared;
        let key = shared.key_of(token);
        let recalled = if is_kept(Rule::VerifyKeepsToOneStream) {
            shared.recall(&key, &question)
        } else {
            shared.recall_across_streams(&key, &question).await
        };
        if let Some(token) = recalled {
            add(&shared.counters.hits, 1);
            return Ok(token);
        }
        add(&shared.counters.misses, 1);
        flight::ask(shared, key, token, question).await
    }
}

impl GuardBuilder {
    /// Sets how many bytes the cache may take. A token takes about one kilobyte.
    pub fn cache_bytes(self, bytes: usize) -> Self {
        Self {
            cache_bytes: Some(bytes),
            ..self
        }
    }

    /// Caches nothing: each question is a call.
    pub fn without_cache(self) -> Self {
        Self {
            cache_bytes: None,
            ..self
        }
    }

    /// Sets how long a verification may take. By default, this is 2 seconds.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Starts the guard and the task that keeps its cache up to date. Must be called in a tokio runtime.
    #[must_use]
    pub fn start(self) -> TokenGuard {
        let Self {
            client,
            cache_bytes,
            deadline,
        } = self;
        let key = random::key().ok().filter(|_| cache_bytes.is_some());
        let max_bytes = cache_bytes.unwrap_or_default();
        let shared = Arc::new(Shared {
            client,
            clock: Clock::system(),
            deadline,
            key,
            max_bytes,
            memory: Current::from_pointee(Memory::without_stream(max_bytes)),
            flights: flight::Flights::default(),
            uses: Uses::default(),
            counters: Counters::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let (ending, has_ended) = watch::channel(());
        if key.is_some() {
            let keeping = stream::keep_up(Arc::clone(&shared), stopped);
            tokio::spawn(async move {
                keeping.await;
                drop(ending);
            });
        } else {
            shared.counters.set_stream(StreamState::Off);
        }
        TokenGuard {
            shared,
            running: Arc::new(Running { stop, has_ended }),
        }
    }
}

impl Shared {
    /// Returns what the token is found by.
    fn key_of(&self, token: &str) -> Key {
        let key = self.key.as_ref().unwrap_or(&[0; 32]);
        *blake3::keyed_hash(key, token.as_bytes()).as_bytes()
    }

    /// Returns the token if memory permits what the question asks, and records the use.
    fn recall(&self, key: &Key, question: &Question) -> Option<VerifiedToken> {
        self.key?;
        let memory = self.memory.load();
        let entry = memory.look_up(key, question, || self.clock.boot_time())?;
        self.uses.record(&entry, question, self.clock.wall_time());
        Some(entry.token.clone())
    }

    /// The same without `VerifyKeepsToOneStream`: another stream may begin between the look at the lease and at the slots.
    async fn recall_across_streams(&self, key: &Key, question: &Question) -> Option<VerifiedToken> {
        let memory = self.memory.load_full();
        tokio::time::sleep(rule::WINDOW).await;
        let entry = memory.look_up_with(&self.memory.load(), key, question, || self.clock.boot_time())?;
        Some(entry.token.clone())
    }

    /// Asks the service, and keeps its answer if that is allowed.
    async fn call(&self, key: &Key, secret: &str, question: &Question) -> Result<VerifiedToken, Denied> {
        // The answer goes into the memory from before the call, or nowhere: a later one belongs to another stream.
        let memory = self.memory.load_full();
        let sent = self.clock.boot_time();
        let mut request = Request::new(VerifyRequest {
            token: secret.to_owned(),
            resource: question.resource.as_str().to_owned(),
            required_scopes: question.scopes.clone(),
            client_address: question.address.map(|address| address.to_string()).unwrap_or_default(),
            ..VerifyRequest::default()
        });
        request.set_timeout(self.deadline);
        add(&self.counters.calls, 1);
        let response = self.client.clone().verify(request).await;
        let mut response = response.map_err(|status| denied_by_error(status.into()))?.into_inner();
        let token = match response.decision() {
            Decision::Allow => response.token.take(),
            Decision::Deny | Decision::Unspecified => None,
        };
        let Some(token) = token else {
            return Err(denied_by(response.deny_reason(), question, response));
        };
        let token = VerifiedToken::new(token);
        let allowed = Allowed {
            token: token.clone(),
            revision: response.revision.map(|revision| Revision {
                epoch: revision.epoch,
                number: revision.number,
            }),
            cacheable_for: response.cacheable_for.as_ref().and_then(plain_span).unwrap_or_default(),
            sent,
        };
        if self.key.is_some() {
            match memory.store(*key, allowed) {
                Stored::Kept { evicted } => add(&self.counters.evictions, evicted),
                Stored::Refused => add(&self.counters.refused_answers, 1),
            }
        }
        Ok(token)
    }

    /// Returns the denial of a question that was not answered in time.
    fn late(&self) -> Denied {
        Denied::Unavailable {
            retry_after: RETRY_AFTER,
            cause: format!("no answer within {:?}", self.deadline),
        }
    }
}

impl fmt::Debug for TokenGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGuard")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
