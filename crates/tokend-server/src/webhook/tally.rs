use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::StatusCode;
use metrics::{Counter, Gauge};
use tokend_core::{clock::Clock, webhook::Message};
use tokend_store::{Backlog, Claim};

use super::client::Answer;
use crate::{layers::telemetry::Telemetry, tally::Sample};

const DELIVERIES: &str = "tokend_webhook_deliveries_total";
const MESSAGES: &str = "tokend_webhook_outbox_messages";
const OLDEST_AGE: &str = "tokend_webhook_outbox_oldest_age_seconds";

/// Counts tries, and logs those that failed, now and then.
pub(super) struct Tally {
    delivered: Counter,
    refused: Counter,
    unreachable: Counter,
    messages: Gauge,
    oldest_age: Gauge,
    is_failing: AtomicBool,
    sample: Sample,
}

impl Tally {
    pub(super) fn new(telemetry: &Telemetry, clock: Clock) -> Self {
        telemetry
            .describe(DELIVERIES, "Tries to send a message to the webhook, by whether it was taken, refused, or not answered.");
        let of = |outcome| telemetry.counter(DELIVERIES, Some(("outcome", outcome)));
        Self {
            delivered: of("delivered"),
            refused: of("refused"),
            unreachable: of("unreachable"),
            messages: telemetry.gauge(MESSAGES, "Messages that the webhook's receiver does not have yet, of all servers."),
            oldest_age: telemetry.gauge(OLDEST_AGE, "How long the oldest of them has been waiting, in seconds."),
            is_failing: AtomicBool::new(false),
            sample: Sample::new(clock),
        }
    }

    pub(super) fn show(&self, backlog: &Backlog) {
        let Backlog { messages, oldest_age } = backlog;
        self.messages.set(*messages as f64);
        self.oldest_age.set(oldest_age.as_secs_f64());
    }

    /// Counts a message that was delivered.
    pub(super) fn delivered(&self, claim: &Claim) {
        self.delivered.increment(1);
        tracing::debug!(id = %claim.message.id, attempt = claim.attempt, "the webhook's receiver has a message");
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the webhook's receiver takes messages again");
        }
    }

    /// Counts a try that failed; the next comes after `pause`.
    pub(super) fn failed(&self, claim: &Claim, answer: &Answer, pause: Duration) {
        self.is_failing.store(true, Ordering::Relaxed);
        let counter = if matches!(answer, Answer::Refused { .. }) { &self.refused } else { &self.unreachable };
        counter.increment(1);
        let Some(more) = self.sample.permit() else { return };
        let Claim { message: Message { id, event, subject, payload: _ }, attempt, create_time, claim_time } = claim;
        let waiting = claim_time.saturating_since(*create_time);
        let told = tracing::field::display;
        match answer {
            Answer::Refused { status: StatusCode::GONE, .. } => tracing::error!(
                id = %id, event, subject, attempt, ?waiting, more,
                "the webhook's receiver wants no messages any more (410 Gone): take the webhook out of the settings, or mend the \
                 receiver; until then they are kept, and tried again"
            ),
            Answer::Refused { status, .. } if is_lasting(*status) => tracing::error!(
                id = %id, event, subject, attempt, ?waiting, next_in = ?pause, more, status = told(status),
                "the webhook's receiver refused a message, and would do so again: look at its URL and its secrets"
            ),
            Answer::Refused { status, .. } => tracing::warn!(
                id = %id, event, subject, attempt, ?waiting, next_in = ?pause, more, status = told(status),
                "the webhook's receiver did not take a message"
            ),
            Answer::Unreachable { problem } => tracing::warn!(
                id = %id, event, subject, attempt, ?waiting, next_in = ?pause, more, problem,
                "the webhook's receiver can't be reached"
            ),
            Answer::Delivered => {}
        }
    }
}

/// Whether the same request will most likely be answered the same way: redirects, which are not followed, and errors that are ours.
fn is_lasting(status: StatusCode) -> bool {
    const PASSING: [StatusCode; 3] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !PASSING.contains(&status)
}
