//! Those in another workspace who go on with their work: each makes calls of one kind at a pace, on a connection of its own, and all of
//! them share a thread of their own.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokend_bench::{Failure, installation::Door};
use tokend_client::{Client, v1};
use tokend_core::clock::Clock;
use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Between the times at which calls of one kind are due.
const PACE: Duration = Duration::from_millis(50);
/// Tokens about which verdicts are asked, and as many that are to be revoked.
const AT_HAND: usize = 100;
const KINDS: [&str; 3] = ["Verify", "CreateToken", "RevokeToken"];

/// Calls of one kind, of a stretch of time.
#[derive(Default)]
pub(crate) struct Timed {
    pub(crate) name: &'static str,
    /// How long those that succeeded took, from the moment when they were due: one that had to wait until a slow one was over was slow,
    /// too.
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: usize,
}

/// They are at work until they are stopped.
pub(crate) struct Neighbours {
    measured: Measured,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), Failure>>,
}

#[derive(Clone, Default)]
struct Measured(Arc<Mutex<[Timed; 3]>>);

impl Neighbours {
    /// Has them begin, in this workspace.
    pub(crate) fn start(door: &Door, clock: &Clock, workspace: &'static str) -> Self {
        let (measured, stop) = (Measured::default(), CancellationToken::new());
        let work = Work { clock: clock.clone(), measured: measured.clone(), stop: stop.clone(), workspace };
        let door = door.clone();
        let ended = spawn_blocking(move || Builder::new_current_thread().enable_all().build()?.block_on(work.all(&door)));
        Self { measured, stop, ended }
    }

    /// What was measured since the last time.
    pub(crate) fn taken(&self) -> [Timed; 3] {
        self.measured.take()
    }

    /// Has them end their calls, and no longer.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
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

    fn note(&self, kind: usize, took: Option<Duration>) {
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
    async fn all(&self, door: &Door) -> Result<(), Failure> {
        let (verifier, maker, revoker) = (door.connect().await?, door.connect().await?, door.connect().await?);
        let (made, to_revoke) = unbounded_channel();
        let mut secrets = Vec::with_capacity(AT_HAND);
        for _ in 0..AT_HAND {
            secrets.push(create(&maker, self.workspace).await?.secret);
            // So that who revokes need not wait for who makes.
            made.send(create(&maker, self.workspace).await?.token.unwrap_or_default().name)?;
        }
        tokio::join!(self.verify(verifier, secrets), self.make(maker, made), self.revoke(revoker, to_revoke));
        Ok(())
    }

    async fn verify(&self, client: Client, secrets: Vec<String>) {
        let mut secrets = secrets.iter().cycle();
        self.at_pace(0, async || {
            let token = secrets.next().cloned().unwrap_or_default();
            let request = v1::VerifyRequest { token, resource: self.workspace.to_owned(), ..Default::default() };
            let answer = client.token_verify().verify(request).await.ok()?.into_inner();
            (answer.decision() == v1::Decision::Allow).then_some(())
        })
        .await;
    }

    async fn make(&self, client: Client, made: UnboundedSender<String>) {
        self.at_pace(1, async || {
            let token = create(&client, self.workspace).await.ok()?.token?;
            made.send(token.name).ok()
        })
        .await;
    }

    async fn revoke(&self, client: Client, mut made: UnboundedReceiver<String>) {
        self.at_pace(2, async || {
            let name = made.recv().await?;
            client.token_admin().revoke_token(v1::RevokeTokenRequest { name, ..Default::default() }).await.ok().map(|_| ())
        })
        .await;
    }

    /// Makes a call whenever one is due, or as soon as the one before is over.
    async fn at_pace(&self, kind: usize, mut call: impl AsyncFnMut() -> Option<()>) {
        let start = self.clock.boot_time();
        let now = || self.clock.boot_time().saturating_since(start);
        let mut due = Duration::ZERO;
        while !self.stop.is_cancelled() {
            due += PACE;
            let mut from = due;
            if let Some(early) = due.checked_sub(now()) {
                sleep(early).await;
                // How exact the timer is, is no one's fault here.
                from = now();
            }
            let done = call().await;
            self.measured.note(kind, done.map(|()| now().saturating_sub(from)));
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
