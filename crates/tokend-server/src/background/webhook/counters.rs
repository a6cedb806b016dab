use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::StatusCode;
use metrics::{Counter, Gauge};
use tokend_core::{log_limit::LogLimit, time::Clock, webhook::Message};
use tokend_store::{Backlog, Claim};

use super::client::Answer;
use crate::observability::metrics::Telemetry;

const DELIVERIES: &str = "tokend_webhook_deliveries_total";
const MESSAGES: &str = "tokend_webhook_outbox_messages";
const OLDEST_AGE: &str = "tokend_webhook_outbox_oldest_age_seconds";

/// Counts attempts, and logs failures at a limited rate.
pub(super) struct DeliveryCounters {
    delivered: Counter,
    refused: Counter,
    unreachable: Counter,
    messages: Gauge,
    oldest_age: Gauge,
    is_failing: AtomicBool,
    sample: LogLimit,
}

impl DeliveryCounters {
    pub(super) fn new(telemetry: &Telemetry, clock: Clock) -> Self {
        telemetry.describe(
            DELIVERIES,
            "Attempts to send a message to the webhook, by outcome: delivered, refused or unreachable.",
        );
        let of = |outcome| telemetry.counter(DELIVERIES, Some(("outcome", outcome)));
        Self {
            delivered: of("delivered"),
            refused: of("refused"),
            unreachable: of("unreachable"),
            messages: telemetry.gauge(
                MESSAGES,
                "Messages that wait for the webhook's receiver, of all servers.",
            ),
            oldest_age: telemetry.gauge(
                OLDEST_AGE,
                "Age of the oldest message that waits for the webhook's receiver, in seconds.",
            ),
            is_failing: AtomicBool::new(false),
            sample: LogLimit::new(clock),
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
        tracing::debug!(id = %claim.message.id, attempt = claim.attempt, "a message was delivered to the webhook");
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the webhook's receiver accepts messages again");
        }
    }

    /// Counts a failed attempt. The next follows after `pause`.
    pub(super) fn failed(&self, claim: &Claim, answer: &Answer, pause: Duration) {
        self.is_failing.store(true, Ordering::Relaxed);
        let counter = if matches!(answer, Answer::Refused { .. }) {
            &self.refused
        } else {
            &self.unreachable
        };
        counter.increment(1);
        let Some(more) = self.sample.permit() else { return };
        let Claim {
            message:
                Message {
                    id,
                    event,
                    subject,
                    payload: _,
                },
            attempt,
            create_time,
            claim_time,
        } = claim;
        let waiting = claim_time.saturating_since(*create_time);
        match answer {
            Answer::Refused {
                status: StatusCode::GONE,
                ..
            } => tracing::error!(
                id = %id, event, subject, attempt, ?waiting, more,
                "the webhook's receiver wants no more messages (410 Gone): remove the webhook from the settings, or \
                 repair the receiver; until then messages are kept and retried"
            ),
            Answer::Refused { status, .. } if is_lasting(*status) => tracing::error!(
                id = %id, event, subject, attempt, ?waiting, next_in = ?pause, more, %status,
                "the webhook's receiver refused a message and will do so again: check its URL and its secrets"
            ),
            Answer::Refused { status, .. } => tracing::warn!(
                id = %id, event, subject, attempt, ?waiting, next_in = ?pause, more, %status,
                "the webhook's receiver did not accept a message"
            ),
            Answer::Unreachable { problem } => tracing::warn!(
                id = %id, event, subject, attempt, ?waiting, next_in = ?pause, more, problem,
                "the webhook's receiver can't be reached"
            ),
            Answer::Delivered => {}
        }
    }
}

/// Returns whether a repetition will most likely have the same result: redirects, which are not followed, and errors on
/// our side.
fn is_lasting(status: StatusCode) -> bool {
    const TEMPORARY: [StatusCode; 3] = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !TEMPORARY.contains(&status)
}
