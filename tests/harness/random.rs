//! Random choices that a seed determines.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood 2014). The same seed yields the same choices.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the generator of a round, whose choices do not depend on what happened before.
    pub(crate) fn of_round(seed: u64, round: usize) -> Self {
        let round = u64::try_from(round).expect("a number in 64 bits");
        Self(Self(seed).bits() ^ Self(round).bits())
    }

    /// Returns a generator for another task. Its choices do not depend on those of this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a limit in 64 bits");
        usize::try_from(self.bits() % limit).expect("a number below a limit")
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        (!choices.is_empty()).then(|| &choices[self.below(choices.len())])
    }

    pub(crate) fn millis(&mut self, least: usize, most: usize) -> Duration {
        let millis = least + self.below(most - least + 1);
        Duration::from_millis(u64::try_from(millis).expect("a span in 64 bits"))
    }

    /// Returns a choice with a probability in proportion to its weight. Panics if all weights are zero.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(usize, T)]) -> T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for &(weight, choice) in choices {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        unreachable!("the number is below the sum of the weights")
    }
}
