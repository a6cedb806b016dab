//! A program that leaves out a rule of the protocol must be found out.

use std::{collections::BTreeSet, env, process::Command, time::Duration};

use tokend_tests::{Installation, Process, broken_rules, eventually, on_sqlite};

use crate::{
    cluster::Cluster,
    faults,
    lab::Lab,
    provocation::{By, PROVOCATIONS, Provocation},
    report, run,
    settings::Settings,
    workload::Mix,
};

// The cluster on PostgreSQL brings its own server.
on_sqlite!(rules: each_broken_rule_is_found);

/// The rules to leave out, one after the other: names separated by commas, or `all`.
pub(crate) const RULES: &str = "TOKEND_HARNESS_RULES";
/// The rules that are left out when nothing is said: their loss shows within seconds, without a fault.
const USUAL: [&str; 3] = ["AnswerWaits", "RepeatWaits", "SlotOnHit"];
/// A run that has noticed nothing goes on for so long, and on a busy machine until it has made enough changes.
const USUALLY: Duration = Duration::from_secs(90);
const LONGEST: Duration = Duration::from_secs(300);
const ENOUGH_CHANGES: usize = 250;
/// The number of changes in progress at once. Most of the time they wait for leases to end.
const CHANGERS: usize = 16;

async fn each_broken_rule_is_found(installation: Installation) {
    if !cfg!(debug_assertions) {
        tokend_test_support::did_not_run("a release build can't leave out a rule of the protocol");
        return;
    }
    let breakable = breakable(&installation).await;
    let provoked = PROVOCATIONS
        .iter()
        .filter(|provocation| !matches!(provocation.by, By::Elsewhere(_)));
    let kept: Vec<_> = provoked
        .map(|provocation| provocation.rule)
        .filter(|rule| !breakable.contains(*rule))
        .collect();
    assert!(kept.is_empty(), "the programs under test can't leave out {kept:?}");
    let (mut tried, mut missed) = (0, Vec::new());
    run::print("\n| rule | found |\n|---|---|\n");
    for provocation in chosen() {
        let rule = provocation.rule;
        tried += 1;
        let told = match find(&installation, provocation).await {
            Search::Found(violation) => violation,
            Search::NotTried(why) => {
                tokend_test_support::did_not_run(&format!("without {rule}: {why}"));
                why
            }
            Search::Missed => {
                missed.push(rule);
                "not found".to_owned()
            }
        };
        run::print(&format!("| `{rule}` | {told} |\n"));
    }
    assert!(
        tried > 0 && missed.is_empty(),
        "of {tried} rules, no run noticed the loss of {missed:?}"
    );
}

/// Returns the rules that the programs under test can leave out.
async fn breakable(installation: &Installation) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    for mut command in [
        installation.command::<&str>([]),
        Command::new(env!("CARGO_BIN_EXE_guard-under-test")),
    ] {
        command.env(broken_rules::VARIABLE, broken_rules::LIST);
        let listed = Process::spawn(command, "").finish().await;
        assert!(listed.status.success(), "the rules are listed: {}", listed.stderr);
        rules.extend(listed.stdout.lines().map(ToOwned::to_owned));
    }
    rules
}

/// Returns the rules to leave out.
fn chosen() -> impl Iterator<Item = Provocation> {
    let wanted = env::var(RULES).unwrap_or_else(|_| USUAL.join(","));
    let wanted: Vec<_> = wanted.split(',').map(ToOwned::to_owned).collect();
    let is_wanted = move |rule: &str| wanted.iter().any(|wanted| wanted == rule || wanted == "all");
    PROVOCATIONS
        .iter()
        .copied()
        .filter(move |provocation| is_wanted(provocation.rule))
}

/// What a run without a rule has shown.
enum Search {
    /// A violation: what it was, and after how long.
    Found(String),
    /// Nothing, although it did enough.
    Missed,
    /// Nothing, and why it could not.
    NotTried(String),
}

/// Runs without a rule until there is a violation.
async fn find(installation: &Installation, provocation: Provocation) -> Search {
    let rule = provocation.rule;
    let (acts, faults, is_embedded) = match provocation.by {
        By::Servers(acts, faults) | By::Guards(acts, faults) => (acts, faults, false),
        By::Embedded(acts, faults) => (acts, faults, true),
        By::Elsewhere(place) => return Search::Found(format!("elsewhere: {place}")),
    };
    let installation = installation.another();
    let cluster = if is_embedded {
        Cluster::on_sqlite(installation, provocation.lease, rule).await
    } else {
        let Some(cluster) = Cluster::on_postgres(installation, rule).await else {
            return Search::NotTried("there is no PostgreSQL".to_owned());
        };
        let set = async || cluster.set_lease(provocation.lease).await.then_some(());
        eventually("the lease is set", set).await;
        cluster
    };
    let endpoints = run::endpoints(&cluster, rule);
    let settings = Settings {
        changers: CHANGERS,
        ..Settings::fixed()
    };
    let lab = Lab::new(settings, Mix::only(acts, faults), cluster, endpoints);
    run::start(&lab).await;
    let begin = lab.recorder.now();
    let mut round = 0;
    let found = loop {
        faults::round(&lab, round).await;
        round += 1;
        lab.reap();
        let took = lab.recorder.now().since(begin);
        if let Some(found) = lab.check() {
            let endpoint = lab.endpoints[found.at[0].0].name();
            let violation = found.at[0].1;
            break Search::Found(format!("after {} s: {violation:?} at {endpoint}", took.as_secs()));
        }
        let changes: usize = lab.measures().changes.values().sum();
        if took > USUALLY && changes >= ENOUGH_CHANGES {
            break Search::Missed;
        }
        if took > LONGEST {
            break Search::NotTried(format!("the machine was too busy for more than {changes} changes"));
        }
    };
    run::end(&lab).await;
    if !matches!(found, Search::Found(_)) {
        let counts = lab.guard_counts().await;
        run::print(&report::summary(&lab, round, 0, counts));
    }
    found
}
