//! What is told of many durations.

use std::time::Duration;

/// Durations in order.
pub struct Figures(Vec<Duration>);

impl Figures {
    /// Sorts them.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn of(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "nothing was measured");
        durations.sort_unstable();
        Self(durations)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// The one that 99 of 100 do not exceed.
    #[must_use]
    pub fn percentile_99(&self) -> Duration {
        self.0[(self.0.len() * 99).div_ceil(100) - 1]
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }
}

/// How many times as long as another.
#[must_use]
pub fn ratio(this: Duration, other: Duration) -> f64 {
    this.as_secs_f64() / other.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_hundred_and_of_one() {
        let millis = |count: u64| Duration::from_millis(count);
        let figures = Figures::of((1..=100).rev().map(millis).collect());
        assert_eq!(
            (figures.count(), figures.median(), figures.percentile_99(), figures.max()),
            (100, millis(51), millis(99), millis(100))
        );
        let one = Figures::of(vec![millis(7)]);
        assert_eq!((one.median(), one.percentile_99(), one.max()), (millis(7), millis(7), millis(7)));
        assert!((ratio(millis(3), millis(2)) - 1.5).abs() < f64::EPSILON);
    }
}
