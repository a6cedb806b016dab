//! Medians of ratios, and how far they can be trusted.
//!
//! A machine that other programs use changes its speed from second to second, but two windows that follow each other
//! see nearly the same machine. So what is compared is always the ratio of neighbours, and what is reported is the
//! median of these ratios with a bootstrap interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
//! section 13.3: the percentile method).

use serde::Serialize;

/// How often the sample is drawn again for an interval.
const RESAMPLES: usize = 2_000;

/// The median of a sample, and the interval that holds 95 % of the medians of its resamples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Returns the median of `sample` with its interval. The same sample always has the same interval.
    ///
    /// # Panics
    /// If the sample is empty or holds a number that can't be compared.
    #[must_use]
    pub fn of(sample: &[f64]) -> Self {
        let mut random = SplitMix64(0x746f_6b65_6e64);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| median(sample.iter().map(|_| sample[random.below(sample.len())]).collect()))
            .collect();
        medians.sort_unstable_by(f64::total_cmp);
        Self {
            median: median(sample.to_vec()),
            low: medians[RESAMPLES / 40],
            high: medians[RESAMPLES - 1 - RESAMPLES / 40],
        }
    }
}

/// Returns the median: of an even number, the mean of the two in the middle.
///
/// # Panics
/// If there are no numbers, or one can't be compared.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    assert!(!numbers.is_empty(), "nothing was measured");
    assert!(numbers.iter().all(|number| !number.is_nan()), "not a number");
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len().is_multiple_of(2) {
        f64::midpoint(numbers[middle - 1], numbers[middle])
    } else {
        numbers[middle]
    }
}

/// A small generator of random numbers, always the same sequence from the same seed (Steele, Lea and Flood, Fast
/// Splittable Pseudorandom Number Generators, 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`. The bias of the remainder is irrelevant for the sizes here.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next_u64() % bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_and_of_an_even_number() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
    }

    #[test]
    fn an_interval_holds_the_median_and_is_the_same_each_time() {
        let sample: Vec<f64> = (0..21).map(|step| 1.0 + f64::from(step % 7) / 100.0).collect();
        let estimate = Estimate::of(&sample);
        assert!(estimate.low <= estimate.median && estimate.median <= estimate.high);
        assert!(estimate.low < estimate.high, "{estimate:?}");
        assert_eq!(estimate, Estimate::of(&sample));
    }

    #[test]
    fn an_interval_is_narrow_where_the_sample_is() {
        let wide: Vec<f64> = (0..20).map(|step| f64::from(step % 10)).collect();
        let narrow: Vec<f64> = wide.iter().map(|number| 5.0 + number / 100.0).collect();
        let width = |sample: &[f64]| {
            let estimate = Estimate::of(sample);
            estimate.high - estimate.low
        };
        assert!(width(&narrow) * 50.0 < width(&wide));
        assert!(width(&[2.0; 9]) == 0.0);
    }

    /// Draws many samples from a population whose median is known, and counts how often the interval holds it.
    #[test]
    fn about_19_of_20_intervals_hold_the_true_median() {
        let mut random = SplitMix64(1);
        let held = (0..60)
            .filter(|_| {
                let sample: Vec<f64> = (0..21).map(|_| random.below(1_000_001) as f64 / 1e6).collect();
                let Estimate { low, high, .. } = Estimate::of(&sample);
                (low..=high).contains(&0.5)
            })
            .count();
        assert!((52..=60).contains(&held), "{held} of 60");
    }

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        let mut random = SplitMix64(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([random.next_u64(), random.next_u64()], expected);
    }
}
