//! Runs the checker on one case.

use std::fmt;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::cases::{Case, Checked};
use crate::property::PROMISE;

/// The limits of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of threads.
    pub threads: usize,
    /// The number of steps after which the search stops. (The checker's own timeout is no alternative: a search that it
    /// stops looks finished.)
    pub steps: usize,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The verdict.
    pub outcome: Outcome,
    /// The number of different states that the checker saw.
    pub states: usize,
}

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All states were seen, none violates the guarantee, and the run saw the situations that make it meaningful.
    Holds,
    /// All states were seen and none violates the guarantee, but the run never saw these situations.
    HoldsWithout(Vec<&'static str>),
    /// These steps lead to a violation.
    CounterExample(Vec<String>),
    /// The search stopped at its limit.
    NotFinished,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => write!(f, "holds"),
            Self::HoldsWithout(situations) => write!(f, "holds, but never saw: {}", situations.join("; ")),
            Self::CounterExample(steps) => write!(f, "counter-example, {} steps", steps.len()),
            Self::NotFinished => write!(f, "not finished"),
        }
    }
}

/// Searches all states of the case, breadth first, until a counter-example is found or none are left.
pub fn check(case: &Case, limits: Limits) -> Report {
    match &case.checked {
        Checked::Servers(scenario) => search(scenario.clone(), limits),
        Checked::Embedded(embedded) => search(embedded.clone(), limits),
    }
}

fn search<M>(model: M, limits: Limits) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + fmt::Debug + Send + Sync + 'static,
    M::Action: Clone + PartialEq + fmt::Debug,
{
    let checker = model.checker().threads(limits.threads).target_state_count(limits.steps);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut found = checker.discoveries();
    let outcome = if let Some(path) = found.remove(PROMISE) {
        Outcome::CounterExample(path.into_actions().iter().map(|action| format!("{action:?}")).collect())
    } else if checker.state_count() >= limits.steps {
        Outcome::NotFinished
    } else {
        let properties = checker.model().properties();
        let situations = properties
            .iter()
            .filter(|property| property.expectation == Expectation::Sometimes);
        let unseen: Vec<_> = situations
            .map(|property| property.name)
            .filter(|name| !found.contains_key(name))
            .collect();
        if unseen.is_empty() {
            Outcome::Holds
        } else {
            Outcome::HoldsWithout(unseen)
        }
    };
    Report {
        outcome,
        states: checker.unique_state_count(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Outcome, search};
    use crate::scenario::Scenario;

    #[test]
    fn scenario_that_never_trusts_memory_proves_nothing() {
        let no_lease = Scenario {
            drift: 0,
            ..Scenario::revoke().lease(0)
        };
        let outcome = search(
            no_lease,
            Limits {
                threads: 1,
                steps: 1_000_000,
            },
        )
        .outcome;
        let unseen = [
            "a server allows from stale memory before the answer",
            "a server trusts its memory after the answer",
        ];
        assert_eq!(outcome, Outcome::HoldsWithout(unseen.to_vec()));
    }
}
