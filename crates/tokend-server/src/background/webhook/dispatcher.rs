//! Sends messages from the outbox to the receiver, a few at a time.

use std::{sync::Arc, time::Duration};

use tokend_core::{time::Clock, webhook::SigningSecrets};
use tokend_store::{Claim, Store};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    WebhookError, WebhookSettings,
    client::{Answer, Receiver},
    counters::DeliveryCounters,
    endpoint::Endpoint,
    secrets::Secrets,
};
use crate::{
    background::supervisor::{BackgroundJob, JobError, Phase},
    observability::metrics::Telemetry,
    random,
};

/// The time between two looks into the outbox. A message may be late by so much.
const INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of messages under way from one server.
const MAX_UNDER_WAY: usize = 4;
/// The time for which a message is claimed by one server. It is longer than an attempt can take, so that no other
/// server sends the message meanwhile.
const LEASE: Duration = Duration::from_secs(60);
/// The time between two measurements of the outbox.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(5);
/// The time that messages under way have at shutdown.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// A webhook whose settings were checked.
pub(crate) struct Delivery {
    receiver: Receiver,
    secrets: Secrets,
}

/// Sends the messages of the outbox.
pub(crate) struct WebhookJob {
    secrets: Secrets,
    sender: Arc<Sender>,
}

/// Updates the metrics of the outbox.
pub(crate) struct WebhookBacklogJob(Arc<Sender>);

/// What the messages under way share.
struct Sender {
    store: Store,
    receiver: Receiver,
    counters: DeliveryCounters,
}

impl Delivery {
    /// Checks the settings and reads the files that they name.
    pub(crate) fn open(settings: WebhookSettings, clock: Clock) -> Result<Self, WebhookError> {
        let WebhookSettings {
            url,
            secret_file,
            ca_file,
        } = settings;
        let endpoint = Endpoint::new(&url)?;
        let secrets = Secrets::open(secret_file)?;
        Ok(Self {
            receiver: Receiver::new(endpoint, ca_file.as_deref(), clock)?,
            secrets,
        })
    }

    /// Returns the jobs that send this webhook's messages.
    pub(crate) fn jobs(self, store: Store, telemetry: &Telemetry, clock: Clock) -> (WebhookJob, WebhookBacklogJob) {
        let Self { receiver, secrets } = self;
        let sender = Arc::new(Sender {
            store,
            receiver,
            counters: DeliveryCounters::new(telemetry, clock),
        });
        let backlog = WebhookBacklogJob(Arc::clone(&sender));
        (WebhookJob { secrets, sender }, backlog)
    }
}

impl BackgroundJob for WebhookJob {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn phase(&self) -> Phase {
        Phase::WhileDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        tracing::info!(receiver = %self.sender.receiver.endpoint(), "messages go to a webhook");
        let mut under_way = JoinSet::new();
        while stop.run_until_cancelled(next(&mut under_way)).await.is_some() {
            self.send_due(&mut under_way).await;
        }
        // A message that is given up here is sent again, by another server or later, when its claim expires.
        let all = async { while under_way.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS_TIMEOUT, all).await.is_err() {
            tracing::info!(
                "the webhook's receiver did not answer before the shutdown; it will get the same messages again"
            );
        }
        Ok(())
    }
}

impl BackgroundJob for WebhookBacklogJob {
    fn name(&self) -> &'static str {
        "webhook_backlog"
    }

    fn phase(&self) -> Phase {
        Phase::WhileDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let work = async {
            loop {
                if let Ok(backlog) = self.0.store.outbox_backlog().await {
                    self.0.counters.show(&backlog);
                }
                sleep(BACKLOG_INTERVAL).await;
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}

impl WebhookJob {
    /// Starts to send messages that are due, as many as there is room for.
    async fn send_due(&mut self, under_way: &mut JoinSet<()>) {
        let room = MAX_UNDER_WAY.saturating_sub(under_way.len());
        let store = &self.sender.store;
        // The store logs its faults. The next look tries again.
        if room == 0 || !store.is_message_due().await.unwrap_or(false) {
            return;
        }
        let claims = store.claim_messages(room as u64, LEASE).await.unwrap_or_default();
        // A message that can't be read was logged, and stays in the outbox.
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
                // A message that can't be removed is sent again. The store has logged the reason.
                let _ = self.store.remove_message(&claim.message.id).await;
                self.counters.delivered(&claim);
                return;
            }
            Answer::Refused { status: _, retry_after } => *retry_after,
            Answer::Unreachable { problem: _ } => None,
        };
        let pause = random::pause_after(claim.attempt, retry_after);
        // If this fails, the message is due when its claim expires.
        let _ = self.store.postpone_message(&claim, pause).await;
        self.counters.failed(&claim, &answer, pause);
    }
}

/// Waits until the next look is due, or a message under way is done.
async fn next(under_way: &mut JoinSet<()>) {
    tokio::select! {
        () = sleep(INTERVAL) => {}
        Some(_) = under_way.join_next() => {}
    }
}
