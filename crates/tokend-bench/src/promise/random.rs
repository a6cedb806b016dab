//! Random numbers that are the same in each run.

use std::time::Duration;

/// A generator of random numbers: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which is above zero and so small that the remainder is fair.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// Returns a duration from zero to `longest`, all equally likely.
    pub(super) fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.fraction())
    }

    /// Returns the time until the next event, if events come independently of each other, `mean` apart on average.
    pub(super) fn until_next(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.fraction()).ln())
    }

    /// Returns a number from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Returns where 95 % of the values of a statistic lie when the samples are drawn anew, with repetitions (the bootstrap
/// of Efron, 1979).
pub(super) fn bootstrap<T>(samples: &[T], statistic: impl Fn(&[&T]) -> f64) -> (f64, f64) {
    const DRAWS: usize = 400;
    let mut random = Random::new(13);
    let mut values: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn: Vec<&T> = (0..samples.len())
                .filter_map(|_| samples.get(random.below(samples.len())))
                .collect();
            statistic(&drawn)
        })
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    (values[DRAWS / 40], values[DRAWS - 1 - DRAWS / 40])
}

/// Returns the median.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_about_the_median_and_narrow_with_many_samples() {
        let mut random = Random::new(1);
        let samples: Vec<f64> = (0..2_000).map(|_| random.fraction()).collect();
        let (low, high) = bootstrap(&samples, |drawn| median(drawn.iter().map(|sample| **sample)));
        assert!(low < 0.5 && 0.5 < high, "{low} to {high}");
        assert!(high - low < 0.1, "{low} to {high}");
    }

    #[test]
    fn events_are_as_far_apart_as_they_should_be_on_average() {
        let (mut random, mean) = (Random::new(2), Duration::from_millis(40));
        let total: Duration = (0..10_000).map(|_| random.until_next(mean)).sum();
        assert!((390..410).contains(&total.as_secs()), "{total:?}");
        assert!((0..1_000).all(|_| random.up_to(mean) <= mean && random.below(3) < 3));
    }
}
