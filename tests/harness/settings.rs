//! How long a run is, and what it draws from.

use crate::broken_rules::RULES;
use std::{env, fmt::Display, str::FromStr, time::Duration};

/// The seed of the random choices. Timing is not determined by it.
const SEED: &str = "TOKEND_HARNESS_SEED";
/// The least number of fault rounds.
const ROUNDS: &str = "TOKEND_HARNESS_ROUNDS";
/// The least number of seconds.
const SECONDS: &str = "TOKEND_HARNESS_SECONDS";
/// The least number of operations.
const OPERATIONS: &str = "TOKEND_HARNESS_OPERATIONS";
/// The number of verifications a second to aim at.
const RATE: &str = "TOKEND_HARNESS_RATE";
/// The number of changes that are in progress at once.
const CHANGERS: &str = "TOKEND_HARNESS_CHANGERS";

const DEFAULT_SEED: u64 = 13;

/// The length and the strength of a run. It ends when all of the least numbers are reached.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) operations: usize,
    /// Verifications a second.
    pub(crate) rate: usize,
    pub(crate) changers: usize,
    /// Whether faults may last up to half a minute.
    pub(crate) has_long_faults: bool,
}

impl Settings {
    /// Returns the settings of a run that is a part of all tests, or those that the environment sets.
    pub(crate) fn short(rounds: usize, seconds: u64) -> Self {
        let is_long = [ROUNDS, SECONDS, OPERATIONS]
            .iter()
            .any(|variable| env::var_os(variable).is_some());
        let (rounds, seconds) = if is_long { (1, 1) } else { (rounds, seconds) };
        Self {
            rounds: number(ROUNDS, rounds),
            time: Duration::from_secs(number(SECONDS, seconds)),
            operations: number(OPERATIONS, 0),
            has_long_faults: is_long,
            ..Self::fixed()
        }
    }

    /// Returns the settings of a run whose length the test itself determines.
    pub(crate) fn fixed() -> Self {
        Self {
            seed: number(SEED, DEFAULT_SEED),
            rounds: 0,
            time: Duration::ZERO,
            operations: 0,
            rate: number(RATE, 300).max(1),
            changers: number(CHANGERS, 8).max(1),
            has_long_faults: false,
        }
    }

    /// Returns the time after which the run hangs.
    pub(crate) fn limit(&self) -> Duration {
        const ROUND: Duration = Duration::from_secs(60);
        const ALL_RULES: Duration = Duration::from_secs(2 * 3_600);
        const SOME_RULES: Duration = Duration::from_secs(1_200);
        let rounds = u32::try_from(self.rounds).unwrap_or(u32::MAX);
        let operations = Duration::from_secs(u64::try_from(self.operations / 50).unwrap_or(u64::MAX));
        let rules = if env::var_os(RULES).is_some() {
            ALL_RULES
        } else {
            SOME_RULES
        };
        Duration::from_secs(120) + rules.max(self.time + ROUND * rounds + operations)
    }
}

fn number<T: FromStr + Display>(variable: &str, default: T) -> T {
    match env::var(variable) {
        Err(_) => default,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")),
    }
}
