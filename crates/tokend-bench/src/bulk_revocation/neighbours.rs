//! Clients of another workspace: each makes calls of one kind at a fixed interval, on its own connection. They share
//! one thread.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokend_client::{Client, v1};
use tokend_core::time::Clock;
use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{BoxError, installation::Endpoint};

/// The interval between calls of one kind.
const INTERVAL: Duration = Duration::from_millis(50);
/// Tokens that are verified, and as many that are revoked.
const PREPARED_TOKENS: usize = 100;
const KINDS: [&str; 3] = ["Verify", "CreateToken", "RevokeToken"];

/// The calls of one kind during a period.
#[derive(Default)]
pub(crate) struct Timed {
    pub(crate) name: &'static str,
    /// How long the successful calls took, from the time when they were due: a call that had to wait for a slow one
    /// counts as slow, too.
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: usize,
}

/// The clients. They make calls until they are stopped.
pub(crate) struct Neighbours {
    measured: Measured,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), BoxError>>,
}

#[derive(Clone, Default)]
struct Measured(Arc<Mutex<[Timed; 3]>>);

impl Neighbours {
    /// Starts the clients, in this workspace.
    pub(crate) fn start(endpoint: &Endpoint, clock: &Clock, workspace: &'static str) -> Self {
        let (measured, stop) = (Measured::default(), CancellationToken::new());
        let work = Work {
            clock: clock.clone(),
            measured: measured.clone(),
            stop: stop.clone(),
            workspace,
        };
        let endpoint = endpoint.clone();
        let ended = spawn_blocking(move || {
            Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(work.all(&endpoint))
        });
        Self { measured, stop, ended }
    }

    /// Returns what was measured since the last call of this function.
    pub(crate) fn take(&self) -> [Timed; 3] {
        self.measured.take()
    }

    /// Stops the clients after their current calls.
    pub(crate) async fn stop(self) -> Result<(), BoxError> {
        self.stop.cancel();
        self.ended.await?
    }
}

impl Measured {
    fn take(&self) -> [Timed; 3] {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = mem::take(&mut *kinds);
        for (timed, name) in taken.iter_mut().zip(KINDS) {
            timed.name = name;
        }
        taken
    }

    fn record(&self, kind: usize, took: Option<Duration>) {
        let timed = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[kind];
        match took {
            Some(took) => timed.took.push(took),
            None => timed.failed += 1,
        }
    }
}

struct Work {
    clock: Clock,
    measured: Measured,
    stop: CancellationToken,
    workspace: &'static str,
}

impl Work {
    async fn all(&self, endpoint: &Endpoint) -> Result<(), BoxError> {
        let (verifier, creator, revoker) = (
            endpoint.connect().await?,
            endpoint.connect().await?,
            endpoint.connect().await?,
        );
        let (created, to_revoke) = unbounded_channel();
        let mut secrets = Vec::with_capacity(PREPARED_TOKENS);
        for _ in 0..PREPARED_TOKENS {
            secrets.push(create(&creator, self.workspace).await?.secret);
            // So that revocations need not wait for creations.
            created.send(create(&creator, self.workspace).await?.token.unwrap_or_default().name)?;
        }
        tokio::join!(
            self.verify(verifier, secrets),
            self.create(creator, created),
            self.revoke(revoker, to_revoke)
        );
        Ok(())
    }

    async fn verify(&self, client: Client, secrets: Vec<String>) {
        let mut secrets = secrets.iter().cycle();
        self.repeat(0, async || {
            let token = secrets.next().cloned().unwrap_or_default();
            let request = v1::VerifyRequest {
                token,
                resource: self.workspace.to_owned(),
                ..Default::default()
            };
            let answer = client.token_verify().verify(request).await.ok()?.into_inner();
            (answer.decision() == v1::Decision::Allow).then_some(())
        })
        .await;
    }

    async fn create(&self, client: Client, created: UnboundedSender<String>) {
        self.repeat(1, async || {
            let token = create(&client, self.workspace).await.ok()?.token?;
            created.send(token.name).ok()
        })
        .await;
    }

    async fn revoke(&self, client: Client, mut created: UnboundedReceiver<String>) {
        self.repeat(2, async || {
            let name = created.recv().await?;
            client
                .token_admin()
                .revoke_token(v1::RevokeTokenRequest {
                    name,
                    ..Default::default()
                })
                .await
                .ok()
                .map(|_| ())
        })
        .await;
    }

    /// Makes a call whenever one is due, or as soon as the previous one is done.
    async fn repeat(&self, kind: usize, mut call: impl AsyncFnMut() -> Option<()>) {
        let start = self.clock.boot_time();
        let now = || self.clock.boot_time().saturating_since(start);
        let mut due = Duration::ZERO;
        while !self.stop.is_cancelled() {
            due += INTERVAL;
            let mut from = due;
            if let Some(early) = due.checked_sub(now()) {
                sleep(early).await;
                // The inaccuracy of the timer must not count as the duration of the call.
                from = now();
            }
            let done = call().await;
            self.measured.record(kind, done.map(|()| now().saturating_sub(from)));
        }
    }
}

async fn create(client: &Client, workspace: &str) -> Result<v1::CreateTokenResponse, tonic::Status> {
    let request = v1::CreateTokenRequest {
        parent: workspace.to_owned(),
        display_name: "ci".to_owned(),
        scopes: vec!["repository:write".to_owned()],
        expiry: Some(v1::create_token_request::Expiry::NoExpiry(true)),
        ..Default::default()
    };
    Ok(client.token_admin().create_token(request).await?.into_inner())
}
