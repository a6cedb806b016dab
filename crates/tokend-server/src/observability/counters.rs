//! Counters of what happens too often to be recorded one by one: denied verdicts, calls without a valid credential, and
//! leaked secrets. Samples of the first two are logged.

use std::net::IpAddr;

use metrics::Counter;
use tokend_core::{
    leak::LeakFinding,
    log_limit::LogLimit,
    time::Clock,
    verdict::{Denial, Verdict},
};

use crate::observability::metrics::Telemetry;

const DENIED: &str = "tokend_denied_verdicts_total";
const UNAUTHENTICATED: &str = "tokend_unauthenticated_calls_total";
const LEAKED: &str = "tokend_leaked_secrets_total";
const NOT_RECORDED: &str = "tokend_audit_failures_total";

/// The reasons of refusals that mean that no caller has authenticated.
const NOBODY: [&str; 4] = [
    "MISSING_CREDENTIAL",
    "INVALID_CREDENTIAL",
    "CREDENTIALS_DISAGREE",
    "TOO_MANY_FAILED_AUTHENTICATIONS",
];

/// Counts denied verdicts.
pub(crate) struct DeniedVerdicts {
    by_reason: [(&'static str, Counter); 8],
    sample: LogLimit,
}

/// Counts calls that were refused.
pub(crate) struct RefusedCalls {
    by_reason: [(&'static str, Counter); 4],
    not_recorded: Counter,
    unauthenticated_sample: LogLimit,
    not_recorded_sample: LogLimit,
}

/// Counts strings that were reported as leaked.
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
        Self {
            by_reason,
            sample: LogLimit::new(clock),
        }
    }

    /// Counts a verdict if it is DENY.
    pub(crate) fn note(&self, verdict: Verdict, caller: &tokend_core::caller::Caller) {
        let Verdict::Deny(denial) = verdict else { return };
        let (reason, counter) = &self.by_reason[index(denial)];
        counter.increment(1);
        // The span of the request says who asked. Nothing here says which token was presented.
        tracing::debug!(reason, "the verdict is DENY");
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
        telemetry.describe(
            LEAKED,
            "Strings that were reported as leaked, by what they are: each report counts.",
        );
        let of = |kind| telemetry.counter(LEAKED, Some(("kind", kind)));
        Self {
            tokens: of("workspace_token"),
            caller_keys: of("caller_key"),
            foreign: of("foreign"),
        }
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
        telemetry.describe(UNAUTHENTICATED, "Calls without a valid credential, by reason.");
        telemetry.describe(
            NOT_RECORDED,
            "Refused calls that could not be recorded in the audit log.",
        );
        let by_reason = NOBODY.map(|reason| (reason, telemetry.counter(UNAUTHENTICATED, Some(("reason", reason)))));
        Self {
            by_reason,
            not_recorded: telemetry.counter(NOT_RECORDED, None),
            unauthenticated_sample: LogLimit::new(clock.clone()),
            not_recorded_sample: LogLimit::new(clock),
        }
    }

    /// Counts a call whose caller did not authenticate. Returns false if the reason is another one.
    pub(crate) fn unauthenticated(&self, reason: &str, address: Option<IpAddr>) -> bool {
        let Some((_, counter)) = self.by_reason.iter().find(|(known, _)| *known == reason) else {
            return false;
        };
        counter.increment(1);
        if let Some(more) = self.unauthenticated_sample.permit() {
            tracing::warn!(
                reason,
                address = address.map(tracing::field::display),
                more,
                "a call was not authenticated"
            );
        }
        true
    }

    /// Counts refused calls that could not be recorded.
    pub(crate) fn not_recorded(&self, calls: u64, reason: &dyn std::fmt::Display) {
        self.not_recorded.increment(calls);
        if let Some(more) = self.not_recorded_sample.permit() {
            tracing::error!(%reason, calls, more, "a refused call could not be recorded in the audit log");
        }
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
