//! A histogram of latencies of fixed size: recording allocates nothing and takes a few instructions.

use std::time::Duration;

/// Buckets for each power of two, so that a bucket's width is at most a 32nd of its values.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = ((u64::BITS - STEP_BITS + 1) as usize) * STEPS as usize;

/// Counts of latencies in buckets of nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Adds a latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Returns how many latencies were recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// Returns the latency that this part (0 to 1) of all calls did not exceed, rounded to its bucket's upper end; zero
    /// if there are none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let rank = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_end(index));
            }
        }
        Duration::ZERO
    }
}

/// Returns the bucket of a value. Below [`STEPS`] each value has its own; above, the highest bits choose it.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

/// Returns the largest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let first = (bucket - shift * STEPS) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_at_most_a_32nd_above_it() {
        let around = |power: u32| [(1_u64 << power) - 1, 1 << power, (1 << power) + 1];
        for nanos in (0..64).flat_map(around).chain([u64::MAX]) {
            let end = upper_end(bucket(nanos));
            assert!(nanos <= end && end - nanos <= nanos / STEPS, "{nanos}: {end}");
        }
    }

    #[test]
    fn quantiles_of_one_to_one_thousand() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (part, expected) in [(0.5, 500), (0.99, 990), (1.0, 1_000)] {
            let found = histogram.quantile(part).as_nanos() as f64 / 1e3;
            assert!(
                (expected as f64..expected as f64 * 1.04).contains(&found),
                "{part}: {found}"
            );
        }
        assert_eq!(histogram.count(), 1_000);
        histogram.clear();
        assert_eq!((histogram.count(), histogram.quantile(0.5)), (0, Duration::ZERO));
    }
}
