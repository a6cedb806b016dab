//! A fake `TokenVerify` on loopback.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokend_client::{
    CallerKey, Client,
    guard::{Denied, StreamState, TokenGuard},
    v1::{
        BatchVerifyRequest, BatchVerifyResponse, Decision, DenyReason, Invalidation, Pong, Revision, TokenUse,
        VerifiedToken, VerifyRequest, VerifyResponse, WatchRequest, WatchResponse, invalidation,
        token_verify_server::{TokenVerify, TokenVerifyServer},
    },
};
pub(crate) use tokend_test_support::eventually;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, mpsc},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

pub(crate) const EPOCH: u64 = 5;
pub(crate) const TOKEN: &str = "workspaces/acme/tokens/00000000001000002";
pub(crate) const RESOURCE: &str = "workspaces/acme/repositories/site";
/// How many answers may pass the gate at once while it is open.
pub(crate) const GATE: u32 = 1_000_000;
/// A token that is allowed everything in the workspace.
pub(crate) const SECRET: &str = "tkdw_secret";

/// A fake service. Dropping it ends the server and its connections.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) service: Service,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

#[derive(Clone)]
pub(crate) struct Service {
    state: Arc<Mutex<State>>,
    /// Answers wait here before they leave.
    gate: Arc<Semaphore>,
}

struct State {
    answers: HashMap<String, Result<VerifyResponse, Status>>,
    revision: Revision,
    cacheable_for: Duration,
    calls: u64,
    /// How long the lease of a pong lasts. Nothing: there are no pongs.
    lease: Option<Duration>,
    has_watch: bool,
    /// The streams that are open.
    streams: Vec<mpsc::UnboundedSender<Result<WatchResponse, Status>>>,
    /// What the first message of each stream asked to resume.
    resumed: Vec<Option<Revision>>,
    /// What the next stream that resumes another one gets first.
    missed: Option<WatchResponse>,
    uses: Vec<TokenUse>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::on(listener, Service::default())
    }

    /// Serves on the same port again.
    pub(crate) async fn restart(address: SocketAddr, service: Service) -> Self {
        let listener = eventually("the port is free", async || TcpListener::bind(address).ok()).await;
        Self::on(listener, service)
    }

    fn on(listener: TcpListener, service: Service) -> Self {
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let verify = TokenVerifyServer::new(service.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let server = Server::builder().add_service(verify);
            let served = server.serve_with_incoming(TcpIncoming::from(listener)).await;
            served.expect("the fake serves");
        });
        Self {
            address,
            service,
            runtime: Some(runtime),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.address.to_string(), &key())
            .await
            .expect("connected")
    }

    /// Returns a guard whose stream is open, if the fake has Watch.
    pub(crate) async fn guard(&self) -> TokenGuard {
        let guard = TokenGuard::new(&self.client().await);
        let wanted = if self.service.state().has_watch {
            StreamState::Open
        } else {
            StreamState::Refused
        };
        eventually("the stream is open", async || {
            (guard.stats().stream == wanted).then_some(())
        })
        .await;
        guard
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.service.cut();
    }
}

impl Default for Service {
    fn default() -> Self {
        let state = State {
            answers: HashMap::new(),
            revision: at(3),
            cacheable_for: Duration::ZERO,
            calls: 0,
            lease: Some(Duration::from_secs(60)),
            has_watch: true,
            streams: Vec::new(),
            resumed: Vec::new(),
            missed: None,
            uses: Vec::new(),
        };
        let service = Self {
            state: Arc::new(Mutex::new(state)),
            gate: Arc::new(Semaphore::new(GATE as usize)),
        };
        service.allow(SECRET, allowed_everything());
        service
    }
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, the secret is this token.
    pub(crate) fn allow(&self, secret: &str, token: VerifiedToken) {
        let answer = VerifyResponse {
            decision: Decision::Allow.into(),
            token: Some(token),
            ..VerifyResponse::default()
        };
        self.state().answers.insert(secret.to_owned(), Ok(answer));
    }

    /// From now on, the secret is denied.
    pub(crate) fn deny(&self, secret: &str, reason: DenyReason) {
        let answer = VerifyResponse {
            decision: Decision::Deny.into(),
            deny_reason: reason.into(),
            ..VerifyResponse::default()
        };
        self.state().answers.insert(secret.to_owned(), Ok(answer));
    }

    /// From now on, verifying the secret fails.
    pub(crate) fn fail(&self, secret: &str, status: Status) {
        self.state().answers.insert(secret.to_owned(), Err(status));
    }

    /// Holds answers back after they were read, until [`open`](Self::open).
    pub(crate) async fn close(&self) {
        let all = self.gate.acquire_many(GATE).await;
        all.expect("the gate is there").forget();
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(GATE as usize);
    }

    /// The calls of Verify so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn set_revision(&self, revision: Revision) {
        self.state().revision = revision;
    }

    pub(crate) fn set_lease(&self, lease: Option<Duration>) {
        self.state().lease = lease;
    }

    pub(crate) fn set_cacheable_for(&self, span: Duration) {
        self.state().cacheable_for = span;
    }

    pub(crate) fn set_watch(&self, has_watch: bool) {
        self.state().has_watch = has_watch;
    }

    /// The next stream that resumes another one gets this first.
    pub(crate) fn set_missed(&self, missed: WatchResponse) {
        self.state().missed = Some(missed);
    }

    /// What each stream so far asked to resume.
    pub(crate) fn resumed(&self) -> Vec<Option<Revision>> {
        self.state().resumed.clone()
    }

    pub(crate) fn uses(&self) -> Vec<TokenUse> {
        self.state().uses.clone()
    }

    /// Sends a message to all streams.
    pub(crate) fn send(&self, response: &WatchResponse) {
        for stream in &self.state().streams {
            let _ = stream.send(Ok(response.clone()));
        }
    }

    /// Ends all streams.
    pub(crate) fn cut(&self) {
        for stream in self.state().streams.drain(..) {
            let _ = stream.send(Err(Status::unavailable("the server shuts down")));
        }
    }
}

#[tonic::async_trait]
impl TokenVerify for Service {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        // The answer is read first and may be late.
        let answer = {
            let mut state = self.state();
            state.calls += 1;
            let (revision, cacheable_for) = (state.revision, state.cacheable_for);
            let answer = state.answers.get(&request.get_ref().token).cloned();
            answer
                .unwrap_or_else(|| Ok(unrecognized()))
                .map(|answer| VerifyResponse {
                    revision: Some(revision),
                    cacheable_for: Some(span(cacheable_for)),
                    ..answer
                })
        };
        let _passed = self.gate.acquire().await.expect("the gate is there");
        answer.map(Response::new)
    }

    async fn batch_verify(&self, _: Request<BatchVerifyRequest>) -> Result<Response<BatchVerifyResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        if !self.state().has_watch {
            return Err(Status::unimplemented("this fake has no Watch"));
        }
        let (outgoing, mut queued) = mpsc::unbounded_channel();
        self.state().streams.push(outgoing.clone());
        let (service, mut incoming) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut is_first = true;
            while let Ok(Some(message)) = incoming.message().await {
                service.receive(&message, is_first, &outgoing);
                is_first = false;
            }
            let mut state = service.state();
            state.streams.retain(|stream| !stream.same_channel(&outgoing));
        });
        let stream = stream::poll_fn(move |context| queued.poll_recv(context));
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Service {
    fn receive(
        &self,
        message: &WatchRequest,
        is_first: bool,
        outgoing: &mpsc::UnboundedSender<Result<WatchResponse, Status>>,
    ) {
        let mut state = self.state();
        if is_first {
            state.resumed.push(message.resume_revision);
            if let Some(missed) = state.missed.take_if(|_| message.resume_revision.is_some()) {
                let _ = outgoing.send(Ok(missed));
            }
        }
        state.uses.extend(message.uses.iter().cloned());
        if let (Some(ping), Some(lease)) = (&message.ping, state.lease) {
            let pong = Pong {
                number: ping.number,
                lease_remaining: Some(span(lease)),
                revision: Some(state.revision),
            };
            let _ = outgoing.send(Ok(WatchResponse {
                pong: Some(pong),
                ..WatchResponse::default()
            }));
        }
    }
}

fn unrecognized() -> VerifyResponse {
    VerifyResponse {
        decision: Decision::Deny.into(),
        deny_reason: DenyReason::Unrecognized.into(),
        ..VerifyResponse::default()
    }
}

/// A token for the whole workspace.
pub(crate) fn allowed_everything() -> VerifiedToken {
    VerifiedToken {
        name: TOKEN.to_owned(),
        workspace: "workspaces/acme".to_owned(),
        resource: "workspaces/acme".to_owned(),
        scopes: vec!["repository".to_owned(), "repository:write".to_owned()],
        ..VerifiedToken::default()
    }
}

pub(crate) const fn at(number: u64) -> Revision {
    Revision { epoch: EPOCH, number }
}

/// Says that the token changed at this revision.
pub(crate) fn token_changed(number: u64) -> WatchResponse {
    WatchResponse {
        invalidations: vec![Invalidation {
            subject: Some(invalidation::Subject::Token(TOKEN.to_owned())),
            revision: Some(at(number)),
        }],
        ..WatchResponse::default()
    }
}

pub(crate) fn key() -> CallerKey {
    CallerKey::new("tkdc_key").expect("a key")
}

/// Verifies the token; `Ok` or the name of the reason.
pub(crate) async fn verify(guard: &TokenGuard) -> Result<(), &'static str> {
    let outcome = guard.verify(SECRET, RESOURCE, &["repository"], None).await;
    outcome.map(|_| ()).map_err(|denied: Denied| denied.kind().as_str())
}

fn span(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: span.as_secs().try_into().expect("short"),
        nanos: span.subsec_nanos().cast_signed(),
    }
}
