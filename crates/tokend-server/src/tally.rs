//! Counts, and now and then logs, what is refused too often to be put on record one by one.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::Counter;
use tokend_core::{
    clock::{BootTime, Clock},
    leak::LeakFinding,
    verdict::{Denial, Verdict},
};

use crate::layers::telemetry::Telemetry;

const DENIED: &str = "tokend_denied_verdicts_total";
const UNAUTHENTICATED: &str = "tokend_unauthenticated_calls_total";
const LEAKED: &str = "tokend_leaked_secrets_total";
const NOT_RECORDED: &str = "tokend_audit_failures_total";

/// Reasons of refusals that say that nobody has authenticated.
const NOBODY: [&str; 4] = ["MISSING_CREDENTIAL", "INVALID_CREDENTIAL", "CREDENTIALS_DISAGREE", "TOO_MANY_FAILED_AUTHENTICATIONS"];

/// The least time between two log lines of one kind.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Verdicts that were no.
pub(crate) struct DeniedVerdicts {
    by_reason: [(&'static str, Counter); 8],
    sample: Sample,
}

/// Calls that were refused.
pub(crate) struct RefusedCalls {
    by_reason: [(&'static str, Counter); 4],
    not_recorded: Counter,
    unauthenticated_sample: Sample,
    not_recorded_sample: Sample,
}

/// Strings that were reported as leaked.
pub(crate) struct LeakedSecrets {
    tokens: Counter,
    caller_keys: Counter,
    foreign: Counter,
}

impl DeniedVerdicts {
    pub(crate) fn new(telemetry: &Telemetry, clock: Clock) -> Self {
        telemetry.describe(DENIED, "Verdicts that were DENY, by reason.");
        let reasons = [
            "UNRECOGNIZED",
            "REVOKED",
            "EXPIRED",
            "WORKSPACE_SUSPENDED",
            "WORKSPACE_DELETED",
            "RESOURCE_NOT_COVERED",
            "INSUFFICIENT_SCOPE",
            "ADDRESS_NOT_ALLOWED",
        ];
        let by_reason = reasons.map(|reason| (reason, telemetry.counter(DENIED, Some(("reason", reason)))));
        Self { by_reason, sample: Sample::new(clock) }
    }

    /// Counts a verdict if it is no.
    pub(crate) fn note(&self, verdict: Verdict, caller: &tokend_core::caller::Caller) {
        let Verdict::Deny(denial) = verdict else { return };
        let (reason, counter) = &self.by_reason[index(denial)];
        counter.increment(1);
        if let Some(more) = self.sample.permit() {
            tracing::info!(reason, caller = %caller.id, more, "a token was refused");
        }
    }
}

const fn index(denial: Denial) -> usize {
    match denial {
        Denial::Unrecognized => 0,
        Denial::Revoked => 1,
        Denial::Expired => 2,
        Denial::WorkspaceSuspended => 3,
        Denial::WorkspaceDeleted => 4,
        Denial::ResourceNotCovered => 5,
        Denial::InsufficientScope { .. } => 6,
        Denial::AddressNotAllowed => 7,
    }
}

impl LeakedSecrets {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        telemetry.describe(LEAKED, "Strings that were reported as leaked, by what they are: each report counts.");
        let of = |kind| telemetry.counter(LEAKED, Some(("kind", kind)));
        Self { tokens: of("workspace_token"), caller_keys: of("caller_key"), foreign: of("foreign") }
    }

    /// Counts a string.
    pub(crate) fn note(&self, finding: &LeakFinding) {
        let counter = match finding {
            LeakFinding::Token(_) => &self.tokens,
            LeakFinding::CallerKey(_) => &self.caller_keys,
            LeakFinding::Foreign => &self.foreign,
        };
        counter.increment(1);
    }
}

impl RefusedCalls {
    pub(crate) fn new(telemetry: &Telemetry, clock: Clock) -> Self {
        telemetry.describe(UNAUTHENTICATED, "Calls of nobody that is known here, by reason.");
        telemetry.describe(NOT_RECORDED, "Refused calls that could not be put on record.");
        let by_reason = NOBODY.map(|reason| (reason, telemetry.counter(UNAUTHENTICATED, Some(("reason", reason)))));
        Self {
            by_reason,
            not_recorded: telemetry.counter(NOT_RECORDED, None),
            unauthenticated_sample: Sample::new(clock.clone()),
            not_recorded_sample: Sample::new(clock),
        }
    }

    /// Counts a call of nobody who is known here; false if that is not what the reason says.
    pub(crate) fn unauthenticated(&self, reason: &str, address: Option<IpAddr>) -> bool {
        let Some((_, counter)) = self.by_reason.iter().find(|(known, _)| *known == reason) else { return false };
        counter.increment(1);
        if let Some(more) = self.unauthenticated_sample.permit() {
            tracing::warn!(reason, address = address.map(tracing::field::display), more, "a call was not authenticated");
        }
        true
    }

    /// Counts refused calls that could not be put on record.
    pub(crate) fn not_recorded(&self, calls: u64, reason: &dyn std::fmt::Display) {
        self.not_recorded.increment(calls);
        if let Some(more) = self.not_recorded_sample.permit() {
            tracing::error!(%reason, calls, more, "a refused call could not be put on record");
        }
    }
}

/// Lets one log line through per [`SAMPLE_INTERVAL`] and counts the others. Shared by all threads, without a lock.
#[derive(Debug)]
pub(crate) struct Sample {
    clock: Clock,
    start: BootTime,
    /// Microseconds after `start` from which the next line may be written.
    next: AtomicU64,
    withheld: AtomicU64,
}

impl Sample {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { start: clock.boot_time(), clock, next: AtomicU64::new(0), withheld: AtomicU64::new(0) }
    }

    /// How many lines were withheld before this one, if this one may be written.
    pub(crate) fn permit(&self) -> Option<u64> {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let now = micros(self.clock.boot_time().saturating_since(self.start));
        let next = self.next.load(Ordering::Relaxed);
        let later = now.saturating_add(micros(SAMPLE_INTERVAL));
        // Of several at once, one wins.
        if now < next || self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.withheld.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.withheld.swap(0, Ordering::Relaxed))
    }
}

impl std::fmt::Debug for LeakedSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeakedSecrets")
    }
}

impl std::fmt::Debug for DeniedVerdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeniedVerdicts")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicI64};

    use super::*;

    #[test]
    fn the_log_gets_one_line_per_interval() {
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = Clock::with_offset({
            let ahead = Arc::clone(&ahead);
            move || ahead.load(Ordering::Relaxed)
        });
        let sample = Sample::new(clock);
        assert_eq!([sample.permit(), sample.permit(), sample.permit()], [Some(0), None, None]);
        ahead.store(60_000_000, Ordering::Relaxed);
        assert_eq!([sample.permit(), sample.permit()], [Some(2), None]);
    }
}
