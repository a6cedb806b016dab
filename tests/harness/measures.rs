//! What a run counts and measures besides its history.

use std::{collections::BTreeMap, time::Duration};

/// Counts and latencies.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    /// Faults, by their names.
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// Faults that could not be injected, by their names.
    pub(crate) not_injected: BTreeMap<&'static str, usize>,
    /// Answers without a verdict, by endpoint and status.
    pub(crate) no_verdicts: BTreeMap<(String, String), usize>,
    /// Failed changes, by RPC and status.
    pub(crate) failed_changes: BTreeMap<(&'static str, String), usize>,
    /// Errors that the service returned itself and that no fault explains.
    pub(crate) unexpected: Vec<String>,
    /// Changes that were answered well, by RPC.
    pub(crate) changes: BTreeMap<&'static str, usize>,
    /// How long answered RevokeToken calls took that wait, at any time.
    pub(crate) revoke: Latencies,
    /// The same, of some calls without a fault in progress.
    pub(crate) quiet_revoke: Latencies,
    /// From the answer to a revocation with `no_wait` to the first answer DENY, by endpoint, without a fault in
    /// progress.
    pub(crate) visible: BTreeMap<String, Latencies>,
    /// Revocations that were not visible within the time limit although no fault was in progress.
    pub(crate) never_visible: usize,
    /// From the end of a round's faults until a server gives verdicts again.
    pub(crate) recovery: Latencies,
    /// Created tokens.
    pub(crate) created: usize,
    /// Verifications that were not sent because too many were in progress at a server.
    pub(crate) skipped: usize,
}

/// Measured times, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the times below which so many of a thousand lie.
    pub(crate) fn quantiles<const N: usize>(&self, per_mille: [usize; N]) -> [Duration; N] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        per_mille.map(|per_mille| {
            let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1) - 1;
            let micros = sorted.get(rank).copied().unwrap_or_default();
            Duration::from_micros(micros.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_time_that_covers_its_share() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantiles([500]), [Duration::ZERO]);
        (1..=1_000)
            .rev()
            .for_each(|micros| latencies.add(Duration::from_micros(micros)));
        let expected = [500, 990, 999, 1_000].map(Duration::from_micros);
        assert_eq!(latencies.quantiles([500, 990, 999, 1_000]), expected);
    }
}
