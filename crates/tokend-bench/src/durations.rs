//! Statistics of durations.

use std::time::Duration;

/// Durations in ascending order.
pub struct Durations(Vec<Duration>);

impl Durations {
    /// Sorts the durations.
    ///
    /// # Panics
    /// If there are no durations.
    #[must_use]
    pub fn of(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "nothing was measured");
        durations.sort_unstable();
        Self(durations)
    }

    /// Returns how many durations there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the median.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// Returns the 99th percentile.
    #[must_use]
    pub fn percentile_99(&self) -> Duration {
        self.0[(self.0.len() * 99).div_ceil(100) - 1]
    }

    /// Returns the 99.9th percentile.
    #[must_use]
    pub fn percentile_99_9(&self) -> Duration {
        self.0[(self.0.len() * 999).div_ceil(1_000) - 1]
    }

    /// Returns the longest duration.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }
}

/// Returns `this` divided by `other`.
#[must_use]
pub fn ratio(this: Duration, other: Duration) -> f64 {
    this.as_secs_f64() / other.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_thousand_is_longer_than_the_percentile() {
        let durations = |count: u64| Durations::of((1..=count).map(Duration::from_millis).collect());
        assert_eq!(durations(2_000).percentile_99_9(), Duration::from_millis(1_998));
        assert_eq!(durations(7).percentile_99_9(), Duration::from_millis(7));
    }

    #[test]
    fn statistics_of_one_hundred_and_of_one() {
        let millis = |count: u64| Duration::from_millis(count);
        let durations = Durations::of((1..=100).rev().map(millis).collect());
        assert_eq!(
            (
                durations.count(),
                durations.median(),
                durations.percentile_99(),
                durations.max()
            ),
            (100, millis(51), millis(99), millis(100))
        );
        let one = Durations::of(vec![millis(7)]);
        assert_eq!(
            (one.median(), one.percentile_99(), one.max()),
            (millis(7), millis(7), millis(7))
        );
        assert!((ratio(millis(3), millis(2)) - 1.5).abs() < f64::EPSILON);
    }
}
