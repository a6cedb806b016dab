//! Deadlines: no sequence of policy changes revives a token, only a looser policy postpones an expiry, and each
//! deadline applies to exactly the right tokens.

use proptest::prelude::*;
use tokend_core::{
    policy::{Deadline, Deadlines, ExistingTokens, Lifetime, Policy, PolicyState, Rules},
    time::Timestamp,
    token::{Expiry, Token},
};

use crate::samples::{at, token};

/// A step in a sequence of events.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes.
    Wait(i64),
    /// The policy of one level is set.
    Set { of_organization: bool, policy: Asked },
    /// The policy of one level is set again, unchanged.
    SetAgain { of_organization: bool },
    /// A token with this lifetime is created.
    Make(Option<u64>),
}

/// A `max_lifetime`, and whether it is applied to existing tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    max: Option<u64>,
    is_applied: bool,
}

/// A simple model of one level: every policy that was ever applied, and the result.
#[derive(Default)]
struct Oracle {
    asked: Asked,
    applied: Vec<Applied>,
}

struct Applied {
    at: i64,
    end: i64,
    is_lifted: bool,
}

impl Asked {
    fn policy(self) -> Policy {
        let rules = Rules {
            max_lifetime: self.max.map(lifetime),
            ..Rules::default()
        };
        let existing = if self.is_applied {
            ExistingTokens::Apply
        } else {
            ExistingTokens::Keep
        };
        Policy::new(rules, existing).expect("the policy is valid")
    }

    fn applied(self) -> Option<u64> {
        self.max.filter(|_| self.is_applied)
    }
}

impl Oracle {
    fn set(&mut self, asked: Asked, now: i64) {
        let (before, after) = (self.asked.applied(), asked.applied());
        self.asked = asked;
        if before == after {
            return;
        }
        let is_shorter = before.zip(after).is_some_and(|(before, after)| after < before);
        for applied in self
            .applied
            .iter_mut()
            .filter(|applied| now < applied.end && !is_shorter)
        {
            applied.is_lifted = true;
        }
        if let Some(after) = after {
            self.applied.push(Applied {
                at: now,
                end: now + i64::try_from(after).expect("small"),
                is_lifted: false,
            });
        }
    }

    fn end_of(&self, created: i64) -> Option<i64> {
        self.applied
            .iter()
            .filter(|applied| !applied.is_lifted && created <= applied.at)
            .map(|applied| applied.end)
            .min()
    }
}

/// Sets the policy, after a round trip through its stored form.
fn set(state: &PolicyState, asked: Asked, now: Timestamp) -> PolicyState {
    state.set(&state.policy().expect("well-formed"), &asked.policy(), now)
}

fn lifetime(micros: u64) -> Lifetime {
    Lifetime::from_micros(micros).expect("in range")
}

fn token_created_at(at_time: i64, own_expiry: Expiry) -> Token {
    Token {
        create_time: at(at_time),
        own_expiry,
        requested_expiry: own_expiry,
        revocation: None,
        ..token()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lifetimes = || prop::sample::select(vec![1, 5, 20, 21, 60]);
    let asked = (prop::option::weighted(0.8, lifetimes()), any::<bool>()).prop_map(|(max, is_applied)| Asked {
        max,
        is_applied: is_applied && max.is_some(),
    });
    let step = prop_oneof![
        3 => (0..30i64).prop_map(Step::Wait),
        3 => (any::<bool>(), asked).prop_map(|(of_organization, policy)| Step::Set { of_organization, policy }),
        1 => any::<bool>().prop_map(|of_organization| Step::SetAgain { of_organization }),
        3 => prop::option::of(1..80u64).prop_map(Step::Make),
    ];
    prop::collection::vec(step, 1..40)
}

/// Returns when a token expires by tokend and by the models.
fn ends(token: &Token, (one, other): (&Deadlines, &Deadlines), oracles: &[Oracle; 2]) -> (Expiry, Expiry) {
    let expected = oracles
        .iter()
        .filter_map(|oracle| oracle.end_of(token.create_time.unix_micros()))
        .min();
    (
        token.expiry_under(&one.and(other)),
        token
            .own_expiry
            .earlier(expected.map_or(Expiry::Never, |end| Expiry::At(at(end)))),
    )
}

/// Maps an expiry to a time; `Never` is later than any time in these tests.
fn in_order(expiry: Expiry) -> Timestamp {
    expiry.time().unwrap_or(Timestamp::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn no_sequence_of_policy_changes_revives_a_token(steps in steps()) {
        let (mut now, mut tokens) = (1_000, Vec::<Token>::new());
        let mut levels = [PolicyState::default(), PolicyState::default()];
        let mut oracles = [Oracle::default(), Oracle::default()];
        for step in steps {
            let before: Vec<_> = tokens
                .iter()
                .map(|token| ends(token, (&levels[0].deadlines, &levels[1].deadlines), &oracles).0)
                .collect();
            let (mut is_looser, mut reach) = (false, None);
            match step {
                Step::Wait(span) => now += span,
                Step::Make(ttl) => {
                    // Every token complies with the longest lifetimes at its creation.
                    let longest = oracles.iter().filter_map(|oracle| oracle.asked.max).chain(ttl).min();
                    let end = longest.map_or(Expiry::Never, |span| Expiry::At(lifetime(span).end(at(now))));
                    tokens.push(token_created_at(now, end));
                }
                Step::Set { of_organization, policy } => {
                    let level = usize::from(of_organization);
                    let old = oracles[level].asked.applied();
                    is_looser = old.is_some_and(|old| policy.applied().is_none_or(|new| new > old));
                    reach = policy.applied().filter(|_| policy.applied() != old);
                    levels[level] = set(&levels[level], policy, at(now));
                    oracles[level].set(policy, now);
                }
                Step::SetAgain { of_organization } => {
                    let level = usize::from(of_organization);
                    let deadlines = levels[level].deadlines.clone();
                    levels[level] = set(&levels[level], oracles[level].asked, at(now));
                    prop_assert_eq!(&levels[level].deadlines, &deadlines);
                }
            }
            for (index, token) in tokens.iter().enumerate() {
                let (end, expected) = ends(token, (&levels[0].deadlines, &levels[1].deadlines), &oracles);
                prop_assert_eq!(end, expected);
                if let Some(before) = before.get(index) {
                    prop_assert!(
                        !before.has_passed(at(now)) || end == *before,
                        "{:?} expired at {:?}, and would now expire at {:?}",
                        token,
                        before,
                        end
                    );
                    prop_assert!(
                        is_looser || in_order(end) <= in_order(*before),
                        "postponed from {:?} to {:?}",
                        before,
                        end
                    );
                }
                if let Some(reach) = reach {
                    prop_assert!(in_order(end) <= lifetime(reach).end(at(now)));
                }
            }
        }
    }

    /// The preview of a policy relies on this.
    #[test]
    fn shortening_lists_tokens_that_expire_earlier(before in staircases(), after in staircases(), created in 0..12i64) {
        let (old, new) = (before.end_of(at(created)), after.end_of(at(created)));
        let is_earlier = new.is_some_and(|new| old.is_none_or(|old| new < old));
        let parts: Vec<_> = after.shortening(&before);
        let matching: Vec<_> = parts
            .iter()
            .filter(|part| part.created_after.is_none_or(|after| after < at(created)))
            .filter(|part| at(created) <= part.created_until)
            .collect();
        prop_assert_eq!(matching.len(), usize::from(is_earlier), "{:?}", parts);
        prop_assert!(matching.iter().all(|part| Some(part.end) == new));
        prop_assert!(before.shortening(&before).is_empty());
    }

    /// Filters rely on this.
    #[test]
    fn a_create_time_bounds_the_expired_tokens(steps in staircases(), created in 0..12i64, now in 0..24i64) {
        let (created, now) = (at(created), at(now));
        prop_assert_eq!(
            steps.created_until_ended(now).is_some_and(|until| created <= until),
            steps.end_of(created).is_some_and(|end| end <= now)
        );
        let ends_before = steps.end_of(created).is_some_and(|end| end < now);
        prop_assert_eq!(steps.created_until_ending_before(now).is_some_and(|until| created <= until), ends_before);
    }

    #[test]
    fn the_deadlines_of_both_levels_apply(one in staircases(), other in staircases(), created in 0..12i64) {
        let earlier = [&one, &other].into_iter().filter_map(|steps| steps.end_of(at(created))).min();
        prop_assert_eq!(one.and(&other).end_of(at(created)), earlier);
        prop_assert_eq!(one.and(&other), other.and(&one));
    }

    #[test]
    fn stored_deadlines_are_read_back(steps in staircases()) {
        prop_assert_eq!(steps.to_string().parse(), Ok(steps));
    }
}

fn staircases() -> impl Strategy<Value = Deadlines> {
    let steps = prop::collection::btree_set(0..10i64, 0..5).prop_flat_map(|created| {
        let count = created.len();
        prop::sample::subsequence((0..20i64).collect::<Vec<_>>(), count)
            .prop_map(move |ends| created.clone().into_iter().zip(ends))
    });
    steps.prop_map(|steps| {
        let steps: Vec<_> = steps
            .map(|(created_until, end)| format!("{created_until}:{end}"))
            .collect();
        steps.join(" ").parse().expect("rising steps")
    })
}

/// An endless series of policies that are applied and expire leaves a bounded number of deadlines, and expired tokens
/// stay expired.
#[test]
fn the_number_of_steps_is_limited() {
    let (mut state, mut now) = (PolicyState::default(), 0);
    let tokens: Vec<_> = (0..100)
        .map(|number| token_created_at(number * 10, Expiry::Never))
        .collect();
    let mut expiries = vec![None; tokens.len()];
    for round in 0..100 {
        for max in [4 + round % 2, 3] {
            state = set(
                &state,
                Asked {
                    max: Some(max),
                    is_applied: true,
                },
                at(now),
            );
        }
        now += 10;
        for (token, expiry) in tokens
            .iter()
            .zip(&mut expiries)
            .filter(|(token, _)| token.create_time.unix_micros() <= now - 10)
        {
            let end = token.expiry_under(&state.deadlines);
            assert!(end.has_passed(at(now)), "round {round}");
            assert!(expiry.is_none_or(|before| in_order(end) <= before), "round {round}");
            *expiry = Some(in_order(end));
        }
        assert!(state.deadlines.as_slice().len() <= Deadlines::MAX, "round {round}");
        assert_eq!(
            state.deadlines.end_of(at(now)),
            None,
            "the deadlines do not apply to newer tokens"
        );
    }
}

/// A new deadline replaces the oldest of very many future ones, and every token still has a deadline.
#[test]
fn the_number_of_future_steps_is_limited() {
    let mut state = PolicyState::default();
    for round in 0..100 {
        let asked = Asked {
            max: Some(1_000_000 - round),
            is_applied: true,
        };
        state = set(&state, asked, at(2 * i64::try_from(round).expect("small")));
    }
    assert_eq!(state.deadlines.as_slice().len(), Deadlines::MAX);
    let oldest = state.deadlines.as_slice()[0];
    assert_eq!(state.deadlines.end_of(at(0)), Some(oldest.end));
    let youngest = Deadline {
        created_until: at(198),
        end: at(198 + 999_901),
    };
    assert_eq!(state.deadlines.as_slice().last(), Some(&youngest));
}

#[test]
fn invalid_steps_are_rejected() {
    for bad in [
        "1",
        "1:",
        ":1",
        "1:2 ",
        " 1:2",
        "1:2  3:4",
        "1:2 1:3",
        "1:2 2:2",
        "3:4 1:2",
        "1:5 2:4",
        "a:b",
        "1:2,3:4",
        "1:9223372036854775807",
    ] {
        assert!(bad.parse::<Deadlines>().is_err(), "{bad:?}");
    }
}
