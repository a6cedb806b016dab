use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::time::{Instant, timeout};

use super::*;

/// What a test job does in one run.
#[derive(Clone, Copy)]
enum Step {
    Panic,
    Fail,
    Return,
    WorkThenPanic(Duration),
}

/// What jobs did, and when: seconds since the log was created.
#[derive(Clone)]
struct Log {
    start: Instant,
    lines: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Log {
    #[expect(clippy::disallowed_methods, reason = "the runtime's clock, which is paused")]
    fn new() -> Self {
        Self {
            start: Instant::now(),
            lines: Arc::default(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the runtime's clock, which is paused")]
    fn push(&self, line: String) {
        let line = (self.start.elapsed().as_secs(), line);
        self.lines.lock().expect("no panic holds the lock").push(line);
    }

    /// Returns when `line` was logged.
    fn times(&self, line: &str) -> Vec<u64> {
        let lines = self.lines.lock().expect("no panic holds the lock");
        let lines = lines.iter().filter(|(_, found)| found == line);
        lines.map(|(second, _)| *second).collect()
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().expect("no panic holds the lock");
        lines.iter().map(|(_, line)| line.clone()).collect()
    }
}

/// Takes a step in each run. Works until `stop` when there are no more.
struct TestJob {
    name: &'static str,
    phase: Phase,
    steps: VecDeque<Step>,
    log: Log,
    panics_in_the_end: bool,
}

impl TestJob {
    fn new(name: &'static str, phase: Phase, log: &Log, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            name,
            phase,
            steps: steps.into_iter().collect(),
            log: log.clone(),
            panics_in_the_end: false,
        }
    }
}

impl BackgroundJob for TestJob {
    fn name(&self) -> &'static str {
        self.name
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        self.log.push(format!("{} runs", self.name));
        match self.steps.pop_front() {
            Some(Step::Panic) => panic!("a defect"),
            Some(Step::Fail) => return Err("a failure".into()),
            Some(Step::Return) => return Ok(()),
            Some(Step::WorkThenPanic(time)) => {
                sleep(time).await;
                panic!("a defect");
            }
            None => stop.cancelled().await,
        }
        self.log.push(format!("{} stops", self.name));
        Ok(())
    }

    async fn finish(&mut self) {
        assert!(!self.panics_in_the_end, "a defect");
        // Long enough to be seen if something does not wait for it.
        sleep(Duration::from_secs(1)).await;
        self.log.push(format!("{} finishes", self.name));
    }
}

/// Runs one job for `time`, and returns what it did, and the metrics before the shutdown.
async fn run_for(time: Duration, steps: impl IntoIterator<Item = Step>) -> (Log, String) {
    let (log, telemetry, shutdown) = (Log::new(), Telemetry::new(), CancellationToken::new());
    let mut jobs = Supervisor::new(telemetry.clone());
    jobs.add(TestJob::new("test", Phase::WhileDraining, &log, steps));
    let draining = jobs.draining();
    let jobs = tokio::spawn(jobs.run(draining.cancelled_owned(), shutdown.clone()));
    sleep(time).await;
    let metrics = telemetry.text();
    shutdown.cancel();
    jobs.await.expect("the supervisor does not panic");
    (log, metrics)
}

fn shows(metrics: &str, restarts: u64, up: u64) {
    for line in [
        format!("tokend_background_job_restarts_total{{job=\"test\"}} {restarts}"),
        format!("tokend_background_job_up{{job=\"test\"}} {up}"),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_panics_is_restarted_after_longer_and_longer_pauses() {
    let (log, metrics) = run_for(Duration::from_secs(200), [Step::Panic; 8]).await;
    assert_eq!(log.times("test runs"), [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    shows(&metrics, 8, 1);
    assert_eq!(log.times("test finishes"), [201], "and stopped in good order");
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_fails() {
    let (log, metrics) = run_for(Duration::from_secs(10), [Step::Fail, Step::Fail]).await;
    assert_eq!(log.times("test runs"), [0, 1, 3]);
    shows(&metrics, 2, 1);
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_returns_before_it_is_asked_to_stop() {
    let (log, metrics) = run_for(Duration::from_secs(10), [Step::Return]).await;
    assert_eq!(log.times("test runs"), [0, 1]);
    shows(&metrics, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_are_short_again_after_a_long_run() {
    let long = Step::WorkThenPanic(Duration::from_secs(1_000));
    let (log, _) = run_for(
        Duration::from_secs(1_100),
        [Step::Panic, Step::Panic, long, Step::Panic],
    )
    .await;
    assert_eq!(log.times("test runs"), [0, 1, 3, 1_004, 1_006]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_pause_at_once() {
    let (log, metrics) = run_for(Duration::from_secs(32), [Step::Fail; 10]).await;
    assert_eq!(
        log.times("test runs"),
        [0, 1, 3, 7, 15, 31],
        "the next run is due at 63"
    );
    shows(&metrics, 5, 0);
    assert_eq!(log.times("test finishes"), [33], "the last work is done nevertheless");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_when_it_is_asked_to_stop_is_not_restarted() {
    let step = Step::WorkThenPanic(Duration::from_secs(10));
    let (log, _) = run_for(Duration::from_secs(5), [step]).await;
    assert_eq!(log.times("test runs"), [0]);
    assert_eq!(log.times("test finishes"), [11]);
}

/// A supervisor with a job of each phase, added in the wrong order.
fn one_of_each_phase(log: &Log) -> Supervisor {
    let mut jobs = Supervisor::new(Telemetry::new());
    for (phase, name) in [
        (Phase::Last, "last"),
        (Phase::AfterDraining, "after"),
        (Phase::WhileDraining, "while"),
        (Phase::BeforeDraining, "before"),
    ] {
        jobs.add(TestJob::new(name, phase, log, []));
    }
    jobs
}

#[tokio::test(start_paused = true)]
async fn jobs_stop_in_the_order_of_their_phases() {
    let (log, shutdown) = (Log::new(), CancellationToken::new());
    let jobs = one_of_each_phase(&log);
    let serve = {
        let (log, draining) = (log.clone(), jobs.draining());
        async move {
            draining.cancelled().await;
            log.push("draining".to_owned());
            sleep(Duration::from_secs(15)).await;
            log.push("drained".to_owned());
            "a report"
        }
    };
    let asked = shutdown.clone();
    let ask = async {
        sleep(Duration::from_secs(1)).await;
        log.push("asked".to_owned());
        asked.cancel();
    };
    let (report, ()) = tokio::join!(jobs.run(serve, shutdown), ask);
    assert_eq!(report, "a report");
    let lines = log.lines();
    let place = |line: &str| {
        lines
            .iter()
            .position(|found| found == line)
            .unwrap_or_else(|| panic!("{line}"))
    };
    for order in [
        ["asked", "before stops", "before finishes", "while stops"],
        ["before finishes", "draining", "drained", "after stops"],
        ["before finishes", "while stops", "while finishes", "drained"],
        ["drained", "after stops", "after finishes", "last stops"],
    ] {
        assert!(order.map(place).is_sorted(), "{order:?} in {lines:?}");
    }
    assert_eq!(lines.last().map(String::as_str), Some("last finishes"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_can_not_serve_stops_its_jobs_without_being_asked() {
    let log = Log::new();
    let run = one_of_each_phase(&log).run(async { "no thread" }, CancellationToken::new());
    let ended = timeout(Duration::from_secs(60), run).await;
    assert_eq!(ended, Ok("no thread"));
    assert_eq!(log.lines().last().map(String::as_str), Some("last finishes"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_last_work_holds_nothing_up() {
    let (log, shutdown) = (Log::new(), CancellationToken::new());
    let mut jobs = one_of_each_phase(&log);
    let mut broken = TestJob::new("broken", Phase::AfterDraining, &log, []);
    broken.panics_in_the_end = true;
    jobs.add(broken);
    shutdown.cancel();
    let draining = jobs.draining();
    timeout(Duration::from_secs(60), jobs.run(draining.cancelled_owned(), shutdown))
        .await
        .expect("it ends");
    assert_eq!(log.lines().last().map(String::as_str), Some("last finishes"));
}
