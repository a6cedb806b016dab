//! Takes messages out of the outbox to the receiver, a few at a time.

use std::{sync::Arc, time::Duration};

use tokend_core::{clock::Clock, webhook::SigningSecrets};
use tokend_store::{Claim, Store};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Settings, WebhookError,
    client::{Answer, Receiver},
    endpoint::Endpoint,
    secrets::Secrets,
    tally::Tally,
};
use crate::{layers::telemetry::Telemetry, random};

/// Time between looks into the outbox: how late a message may be that is due.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most messages under way from one server.
const AT_ONCE: usize = 4;
/// How long a message is one server's. Longer than a try can take: nobody else may begin while it lasts.
const LEASE: Duration = Duration::from_secs(60);
/// Time between looks at how much there is in the outbox.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(5);
/// How long the messages that are under way may take when the server shuts down.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The way to the receiver, of which everything that can be checked was.
pub(crate) struct Way {
    receiver: Receiver,
    secrets: Secrets,
}

/// Carries messages.
pub(crate) struct Courier {
    secrets: Secrets,
    sender: Arc<Sender>,
}

/// What the messages under way share.
struct Sender {
    store: Store,
    receiver: Receiver,
    tally: Tally,
}

impl Way {
    /// Reads the files that the settings name.
    pub(crate) fn open(settings: Settings, clock: Clock) -> Result<Self, WebhookError> {
        let Settings { url, secret_file, ca_file } = settings;
        let endpoint = Endpoint::new(&url)?;
        let secrets = Secrets::open(secret_file)?;
        Ok(Self { receiver: Receiver::new(endpoint, ca_file.as_deref(), clock)?, secrets })
    }
}

impl Courier {
    pub(crate) fn new(way: Way, store: Store, telemetry: &Telemetry, clock: Clock) -> Self {
        let Way { receiver, secrets } = way;
        Self { secrets, sender: Arc::new(Sender { store, receiver, tally: Tally::new(telemetry, clock) }) }
    }

    /// Works until `stop`. What is under way then is given up after a while: its claim runs out, and it is sent again.
    pub(crate) async fn carry(mut self, stop: CancellationToken) {
        tracing::info!(receiver = %self.sender.receiver.endpoint(), "messages go to a webhook");
        let measuring = tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(&self.sender).measure()));
        let mut under_way = JoinSet::new();
        while stop.run_until_cancelled(next(&mut under_way)).await.is_some() {
            self.begin(&mut under_way).await;
        }
        // Ends by the same signal.
        let _ = measuring.await;
        let all = async { while under_way.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, all).await.is_err() {
            tracing::info!("the webhook's receiver did not answer before the end: it will get the same messages once more");
        }
    }

    /// Sends as many of the messages that are due as there is room for.
    async fn begin(&mut self, under_way: &mut JoinSet<()>) {
        let room = AT_ONCE.saturating_sub(under_way.len());
        let store = &self.sender.store;
        // A fault of the database was logged, and passes or not.
        if room == 0 || !store.is_message_due().await.unwrap_or(false) {
            return;
        }
        let claims = store.claim_messages(room as u64, LEASE).await.unwrap_or_default();
        // One that can't be read was logged, and stays.
        let mut claims = claims.into_iter().flatten().peekable();
        if claims.peek().is_some() {
            let secrets = self.secrets.now().await;
            for claim in claims {
                under_way.spawn(Arc::clone(&self.sender).send(claim, Arc::clone(&secrets)));
            }
        }
    }
}

impl Sender {
    async fn send(self: Arc<Self>, claim: Claim, secrets: Arc<SigningSecrets>) {
        let signature = secrets.sign(&claim.message.id, claim.claim_time, &claim.message.payload);
        let answer = self.receiver.post(&claim, &signature).await;
        let retry_after = match &answer {
            Answer::Delivered => {
                // If it can't be removed it is sent once more; that the database does not answer was logged.
                let _ = self.store.remove_message(&claim.message.id).await;
                self.tally.delivered(&claim);
                return;
            }
            Answer::Refused { status: _, retry_after } => *retry_after,
            Answer::Unreachable { problem: _ } => None,
        };
        let pause = random::pause_after(claim.attempt, retry_after);
        // Otherwise it is due when the claim has run out.
        let _ = self.store.postpone_message(&claim, pause).await;
        self.tally.failed(&claim, &answer, pause);
    }

    async fn measure(self: Arc<Self>) {
        loop {
            if let Ok(backlog) = self.store.outbox_backlog().await {
                self.tally.show(&backlog);
            }
            sleep(BACKLOG_INTERVAL).await;
        }
    }
}

/// Waits until it is time to look again, or there is room for one more.
async fn next(under_way: &mut JoinSet<()>) {
    tokio::select! {
        () = sleep(INTERVAL) => {}
        Some(_) = under_way.join_next() => {}
    }
}
