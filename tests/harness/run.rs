//! The runs: on both databases, and with clients whose mistakes must be found.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use tokend_tests::{Installation, on_postgres, on_sqlite};
use tokio::time::sleep;

use crate::{
    checker::Kind,
    clock::Moment,
    cluster::Cluster,
    endpoint::{CachingClient, Endpoint, Flaw},
    faults::{self, Kind as FaultKind},
    lab::{Found, Lab},
    program::Program,
    random::Random,
    report,
    settings::Settings,
    workload::{self, Act, Mix},
};

on_postgres!(the_promise_holds);
on_sqlite!(
    the_promise_holds_on_sqlite,
    a_client_that_keeps_answers_too_long_is_found,
    a_client_that_forgets_the_question_is_found,
    a_client_that_denies_in_an_outage_is_found,
    a_client_that_blames_the_caller_in_an_outage_is_found,
);

/// The length of a run that is a part of all tests.
pub(crate) const ROUNDS: usize = 8;
pub(crate) const SECONDS: u64 = 45;
const SQLITE_ROUNDS: usize = 2;
const SQLITE_SECONDS: u64 = 6;
/// How long leases last in these runs.
const SQLITE_LEASE: &str = "50ms";
/// The rounds within which the mistake of a client must be found. One or two are enough.
const ROUNDS_TO_FIND: usize = 15;

/// The rounds of a long run after which it prints how far it is.
const PROGRESS: usize = 10;

/// How long the clients may take to end, when no fault is in progress.
const END_LIMIT: Duration = Duration::from_secs(60);
const END_POLL: Duration = Duration::from_millis(10);

async fn the_promise_holds(installation: Installation) {
    let Some(cluster) = Cluster::on_postgres(installation, "").await else {
        return;
    };
    let settings = Settings::short(ROUNDS, SECONDS);
    let endpoints = endpoints(&cluster, "");
    run(settings, Mix::everything(), cluster, endpoints).await;
}

/// Returns every kind of endpoint: the servers, a client that keeps answers, and two processes with a guard.
pub(crate) fn endpoints(cluster: &Cluster, broken_rules: &str) -> Vec<Endpoint> {
    let guard = |name| {
        let program = env!("CARGO_BIN_EXE_guard-under-test");
        Endpoint::Program(Program::start(name, program, cluster.front_addresses(), broken_rules))
    };
    let servers = (0..cluster.servers().len()).map(Endpoint::Server);
    let flaw = match broken_rules {
        "CacheableFromSend" => Flaw::CountsFromAnswer,
        _ => Flaw::None,
    };
    let clients = [
        Endpoint::Caching(CachingClient::new("client", flaw)),
        guard("guard 1"),
        guard("guard 2"),
    ];
    servers.chain(clients).collect()
}

async fn the_promise_holds_on_sqlite(installation: Installation) {
    let cluster = Cluster::on_sqlite(installation, SQLITE_LEASE, "").await;
    let settings = Settings::short(SQLITE_ROUNDS, SQLITE_SECONDS);
    let endpoints = vec![
        Endpoint::Server(0),
        Endpoint::Caching(CachingClient::new("client", Flaw::None)),
    ];
    let mix = Mix {
        faults: FaultKind::WITHOUT_DATABASE.to_vec(),
        ..Mix::everything()
    };
    run(settings, mix, cluster, endpoints).await;
}

async fn a_client_that_keeps_answers_too_long_is_found(installation: Installation) {
    // Longer than between the last answer before an end and the first question after it.
    let flaw = Flaw::KeepsFor(Duration::from_secs(3));
    is_found(installation, flaw, FaultKind::Stop, |kind| {
        matches!(kind, Kind::AllowedAfter(_))
    })
    .await;
}

async fn a_client_that_forgets_the_question_is_found(installation: Installation) {
    let expected = |kind| kind == Kind::AllowedUngranted;
    is_found(installation, Flaw::ForgetsQuestion, FaultKind::Stop, expected).await;
}

async fn a_client_that_denies_in_an_outage_is_found(installation: Installation) {
    let expected = |kind| kind == Kind::DeniedWithoutCause;
    is_found(installation, Flaw::DeniesInOutage, FaultKind::Kill, expected).await;
}

async fn a_client_that_blames_the_caller_in_an_outage_is_found(installation: Installation) {
    let expected = |kind| kind == Kind::RejectedWithoutCause;
    is_found(installation, Flaw::BlamesCaller, FaultKind::Kill, expected).await;
}

/// Asserts that a run finds the mistake of a client, and none of the server.
async fn is_found(installation: Installation, flaw: Flaw, fault: FaultKind, expected: impl Fn(Kind) -> bool) {
    const SERVER: usize = 0;
    let cluster = Cluster::on_sqlite(installation, SQLITE_LEASE, "").await;
    let endpoints = vec![
        Endpoint::Server(SERVER),
        Endpoint::Caching(CachingClient::new("the client", flaw)),
    ];
    let acts = [Act::Revoke, Act::Rotate, Act::Suspend, Act::Limit, Act::RevokeKey];
    let lab = Lab::new(Settings::fixed(), Mix::only(&acts, &[fault]), cluster, endpoints);
    start(&lab).await;
    let mut is_found = false;
    for round in 0..ROUNDS_TO_FIND {
        faults::round(&lab, round).await;
        lab.reap();
        if let Some(Found { at, text }) = lab.check() {
            assert!(at.iter().all(|(endpoint, _)| *endpoint != SERVER), "{text}");
            is_found |= at.iter().any(|(_, kind)| expected(*kind));
        }
        if is_found {
            break;
        }
    }
    end(&lab).await;
    assert!(is_found, "{flaw:?} is not found");
}

/// Runs until the settings are met, and asserts that the promise was kept.
async fn run(settings: Settings, mix: Mix, cluster: Cluster, endpoints: Vec<Endpoint>) {
    let lab = Lab::new(settings, mix, cluster, endpoints);
    start(&lab).await;
    let begin = lab.recorder.now();
    let mut rounds = 0;
    let mut found = None;
    while found.is_none() && !is_enough(&lab, rounds, begin) {
        faults::round(&lab, rounds).await;
        rounds += 1;
        lab.reap();
        lab.guard_counts().await;
        // Checking holds up all clients: nothing is measured meanwhile.
        let busy = lab.quiet.write().await;
        found = lab.check();
        drop(busy);
        if lab.settings.has_long_faults && rounds.is_multiple_of(PROGRESS) {
            let seconds = lab.recorder.now().since(begin).as_secs();
            print(&format!(
                "{rounds} rounds, {} operations, {seconds} s\n",
                lab.operations()
            ));
        }
    }
    end(&lab).await;
    found = found.or_else(|| lab.check());
    let violations = found.as_ref().map_or(0, |found| found.at.len());
    let counts = lab.guard_counts().await;
    print(&report::summary(&lab, rounds, violations, counts));
    if let Some(Found { text, .. }) = found {
        panic!("seed {}, round {rounds}: {text}", lab.settings.seed);
    }
    let measures = lab.measures();
    assert!(
        measures.unexpected.is_empty(),
        "no fault explains these errors: {:#?}",
        measures.unexpected
    );
    for proxy in lab.cluster.servers().iter().filter_map(|server| server.back.as_ref()) {
        assert!(proxy.feeds() > 0, "no proxy mistakes the feed for another connection");
    }
    let injected: usize = measures.faults.values().sum();
    assert!(
        injected > 0 && measures.changes.len() >= 5,
        "the run does something: {measures:?}"
    );
}

fn is_enough(lab: &Lab, rounds: usize, begin: Moment) -> bool {
    let settings = &lab.settings;
    rounds >= settings.rounds
        && lab.recorder.now().since(begin) >= settings.time
        && lab.operations() >= settings.operations
}

/// Creates what the run needs and starts its clients.
pub(crate) async fn start(lab: &Arc<Lab>) {
    let mut random = Random::new(lab.settings.seed);
    workload::furnish(lab, &mut random).await;
    workload::start(lab, &mut random);
}

/// Waits until all clients have ended.
pub(crate) async fn end(lab: &Lab) {
    lab.end();
    let begin = lab.recorder.now();
    while lab.reap() > 0 {
        let waited = lab.recorder.now().since(begin);
        assert!(waited < END_LIMIT, "the clients do not end");
        sleep(END_POLL).await;
    }
}

/// Prints the summary of a run, also of one that passes.
pub(crate) fn print(summary: &str) {
    io::stderr()
        .write_all(summary.as_bytes())
        .expect("stderr can be written to");
}
