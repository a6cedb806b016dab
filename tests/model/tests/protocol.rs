//! The guarantee holds with all rules, and does not hold if any one of them is left out.

use tokend_model::{Case, Limits, Outcome, Rule, check, repeats_that_only_read, small, without};

/// Several times as much as the largest of these cases takes.
const LIMITS: Limits = Limits {
    threads: 1,
    steps: 20_000_000,
};

#[test]
fn guarantee_holds() {
    small().iter().for_each(assert_holds);
}

#[test]
fn guarantee_does_not_hold_if_a_rule_is_left_out() {
    for &rule in Rule::ALL {
        let case = without(rule);
        assert_eq!(case.without, Some(rule));
        let outcome = check(&case, LIMITS).outcome;
        assert!(
            matches!(outcome, Outcome::CounterExample(_)),
            "{}, without {rule:?}: {outcome}",
            case.name
        );
    }
}

#[test]
fn repeat_that_only_reads_breaks_the_guarantee_only_in_a_promotion() {
    repeats_that_only_read().iter().for_each(assert_holds);
}

#[test]
fn search_that_was_given_up_says_so() {
    let case = &small()[1];
    let report = check(
        case,
        Limits {
            threads: 1,
            steps: 10_000,
        },
    );
    assert_eq!(
        report.outcome,
        Outcome::NotFinished,
        "{}: {} states",
        case.name,
        report.states
    );
}

fn assert_holds(case: &Case) {
    let report = check(case, LIMITS);
    assert_eq!(
        report.outcome,
        Outcome::Holds,
        "{}, without {:?}: {} states",
        case.name,
        case.without,
        report.states
    );
}
