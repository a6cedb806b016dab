//! How many tokens each workspace gets, and which tokens are in the sample.
//!
//! Everything here is a function of the arguments, so that a load that was interrupted can go on: the number of tokens
//! that a workspace has says which one is next.

use std::ops::Range;

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rand_distr::Zipf;
use tokend_core::{name::WorkspaceId, text::DisplayName};

use crate::BoxError;

const WORKSPACES: u32 = 1_000;
const EXPONENT: f64 = 1.0;
const SEED: u64 = 1;

/// What a load stores. Two loads with the same values store the same tokens, except for ids, secrets and the moment
/// that times are relative to.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args)]
pub struct Load {
    /// Tokens in all
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: u64,

    /// Workspaces that share the tokens
    #[arg(long, value_name = "W", default_value_t = WORKSPACES, value_parser = clap::value_parser!(u32).range(1..))]
    pub workspaces: u32,

    /// How unequal the workspaces are: the chance that a token belongs to the k-th is proportional to 1 / k^EXPONENT
    #[arg(long, value_name = "EXPONENT", default_value_t = EXPONENT, value_parser = exponent)]
    pub exponent: f64,

    /// The seed of everything that is drawn at random, except ids and secrets
    #[arg(long, value_name = "S", default_value_t = SEED)]
    pub seed: u64,
}

/// The workspaces with their numbers of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    load: Load,
    /// The largest comes first, give or take chance.
    workspaces: Vec<Planned>,
    /// The size of the sample.
    sample: u64,
}

/// A workspace that is to have tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its number, from 1 on.
    pub(super) number: u32,
    /// The id.
    pub id: WorkspaceId,
    /// How many tokens it is to have.
    pub tokens: u64,
    /// How many tokens the workspaces before it are to have.
    before: u64,
}

impl Load {
    /// Returns a load of this many tokens, with the defaults of `tokend-bench load`.
    #[must_use]
    pub const fn of(tokens: u64) -> Self {
        Self {
            tokens,
            workspaces: WORKSPACES,
            exponent: EXPONENT,
            seed: SEED,
        }
    }
}

impl Plan {
    /// Draws a workspace for each token (Zipf's law). `sample` tokens are in the sample, or all if there are fewer.
    ///
    /// With more tokens and otherwise the same values, no workspace gets fewer: a load can be extended.
    ///
    /// # Errors
    /// There is no workspace, or the exponent is negative.
    pub fn new(load: Load, sample: u64) -> Result<Self, BoxError> {
        let zipf = Zipf::new(f64::from(load.workspaces), load.exponent).map_err(|error| error.to_string())?;
        let mut random = ChaCha8Rng::seed_from_u64(load.seed);
        let mut counts = vec![0; usize::try_from(load.workspaces)?];
        for _ in 0..load.tokens {
            // Ranks are whole numbers from 1 to the number of workspaces.
            let rank: f64 = random.sample(zipf);
            counts[rank as usize - 1] += 1;
        }
        let mut before = 0;
        let mut workspaces = Vec::with_capacity(counts.len());
        for (number, tokens) in (1..).zip(counts) {
            workspaces.push(Planned {
                number,
                id: workspace_id(number)?,
                tokens,
                before,
            });
            before += tokens;
        }
        Ok(Self {
            load,
            workspaces,
            sample: sample.min(load.tokens),
        })
    }

    /// Returns the workspaces.
    #[must_use]
    pub fn workspaces(&self) -> &[Planned] {
        &self.workspaces
    }

    /// Returns what is to be stored.
    #[must_use]
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// Returns the size of the sample.
    #[must_use]
    pub const fn sample(&self) -> u64 {
        self.sample
    }

    /// Returns the display name of the workspaces, which says how the distribution was made: a load with another
    /// distribution must not go on.
    ///
    /// # Errors
    /// None in practice: the text is short.
    pub fn display_name(&self) -> Result<DisplayName, BoxError> {
        let Load {
            tokens: _,
            workspaces,
            exponent,
            seed,
        } = self.load;
        Ok(DisplayName::new(format!(
            "tokend-bench load --workspaces {workspaces} --exponent {exponent} --seed {seed}"
        ))?)
    }

    /// Returns those tokens of the workspace that are in the sample. The sample is spread evenly over all tokens, so a
    /// large workspace has more of it.
    pub fn sampled(&self, workspace: &Planned, tokens: Range<u64>) -> impl Iterator<Item = u64> + use<> {
        let (sample, all, before) = (u128::from(self.sample), u128::from(self.load.tokens), workspace.before);
        let taken = move |number: u64| u128::from(number) * sample / all;
        tokens.filter(move |token| taken(before + token) < taken(before + token + 1))
    }
}

/// Returns the id of the workspace with this number, from 1 on.
pub(super) fn workspace_id(number: u32) -> Result<WorkspaceId, BoxError> {
    Ok(format!("load-{number}").parse()?)
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("it must be a number from 0 to 10".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(tokens: u64) -> Load {
        Load {
            tokens,
            workspaces: 50,
            exponent: 1.0,
            seed: 7,
        }
    }

    fn counts(load: Load) -> Vec<u64> {
        let plan = Plan::new(load, 0).expect("it is valid");
        plan.workspaces().iter().map(|workspace| workspace.tokens).collect()
    }

    #[test]
    fn shares_follow_zipfs_law() {
        let counts = counts(load(100_000));
        assert_eq!(counts.iter().sum::<u64>(), 100_000);
        let harmonic: f64 = (1..=50).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1_u32, 2, 10, 50] {
            let expected = 100_000.0 / harmonic / f64::from(rank);
            let found = counts[rank as usize - 1] as f64;
            assert!((found / expected - 1.0).abs() < 0.15, "{rank}: {found} of {expected}");
        }
    }

    #[test]
    fn an_exponent_of_zero_makes_equal_shares() {
        let equal = Load {
            exponent: 0.0,
            ..load(100_000)
        };
        assert!(counts(equal).iter().all(|count| (1_800..2_200).contains(count)));
    }

    #[test]
    fn the_same_arguments_make_the_same_plan_and_another_seed_another() {
        assert_eq!(counts(load(5_000)), counts(load(5_000)));
        let other = Load { seed: 8, ..load(5_000) };
        assert_ne!(counts(load(5_000)), counts(other));
    }

    #[test]
    fn more_tokens_take_none_from_a_workspace() {
        let (few, many) = (counts(load(5_000)), counts(load(6_000)));
        assert!(few.iter().zip(&many).all(|(few, many)| few <= many));
    }

    #[test]
    fn the_sample_has_its_size_however_the_tokens_are_split_up() {
        for (tokens, wanted, expected) in [(10_000, 37, 37), (10_000, 10_000, 10_000), (10, 37, 10), (100, 0, 0)] {
            let plan = Plan::new(load(tokens), wanted).expect("it is valid");
            let of = |workspace: &Planned| {
                let middle = workspace.tokens / 2;
                plan.sampled(workspace, 0..middle).count() + plan.sampled(workspace, middle..workspace.tokens).count()
            };
            assert_eq!(plan.workspaces().iter().map(of).sum::<usize>(), expected);
        }
    }
}
