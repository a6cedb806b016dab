//! Runs background jobs: restarts those that fail, and stops them in the order that a shutdown needs.
//!
//! ```text
//! asked to stop -> BeforeDraining jobs stop -> the listener closes, WhileDraining jobs stop
//!               -> the last request is answered -> AfterDraining jobs stop -> Last jobs stop
//! ```
//!
//! A job keeps what must survive its restart, such as an open file or entries that are not written yet, in its fields.
//! `run` borrows them: a panic drops the future, and the fields stay.

use std::{error::Error, fmt, future::ready, panic::AssertUnwindSafe, pin::pin, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use metrics::{Counter, Gauge};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::observability::metrics::Telemetry;

const UP: &str = "tokend_background_job_up";
const RESTARTS: &str = "tokend_background_job_restarts_total";

/// The pause before the first restart. Each further restart doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A job that has run this long counts as healthy: its next pause is the first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Why a run of a job failed.
pub(crate) type JobError = Box<dyn Error + Send + Sync>;

/// Work that runs for as long as the server does.
pub(crate) trait BackgroundJob: Send + 'static {
    /// Returns the job's name: `job` in the log and in the metrics.
    fn name(&self) -> &'static str;

    /// Returns when the job stops.
    fn phase(&self) -> Phase;

    /// Works until `stop`. The supervisor restarts a job that panics, fails or returns before.
    ///
    /// # Errors
    /// Whatever the job can't deal with here. The supervisor logs it.
    fn run(&mut self, stop: &CancellationToken) -> impl Future<Output = Result<(), JobError>> + Send;

    /// Does the last work. Called exactly once, after `stop`, even if the job was waiting for its restart.
    fn finish(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// When a job stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// As soon as the server is asked to stop. The listener closes when these jobs have stopped.
    BeforeDraining,
    /// When draining begins: these jobs start no new work while the last requests are answered.
    WhileDraining,
    /// When the last request has been answered: these jobs process what the requests left.
    AfterDraining,
    /// When all other jobs have stopped.
    Last,
}

/// The jobs of a server.
pub(crate) struct Supervisor {
    telemetry: Telemetry,
    /// One future for each job, which nothing polls before [`Self::run`].
    jobs: Vec<(Phase, BoxFuture<'static, ()>)>,
    groups: Groups,
}

/// The groups of jobs, by [`Phase`].
#[derive(Default)]
struct Groups([Group; 4]);

/// The jobs that stop together.
#[derive(Default)]
struct Group {
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct JobMetrics {
    /// 1 while the job runs, 0 while it waits for its restart.
    up: Gauge,
    restarts: Counter,
}

/// How a run of a job ended.
enum RunEnd {
    Panic,
    Error(JobError),
    Return,
}

impl Supervisor {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        telemetry.describe(RESTARTS, "Restarts of background jobs, by job.");
        Self {
            telemetry,
            jobs: Vec::new(),
            groups: Groups::default(),
        }
    }

    /// Adds a job, which starts with [`Self::run`].
    pub(crate) fn add(&mut self, job: impl BackgroundJob) {
        let (label, phase) = (("job", job.name()), job.phase());
        let metrics = JobMetrics {
            up: self.telemetry.labelled_gauge(
                UP,
                "Whether a background job runs (1), or waits for its restart (0), by job.",
                label,
            ),
            restarts: self.telemetry.counter(RESTARTS, Some(label)),
        };
        let stop = self.groups.of(phase).stop.clone();
        self.jobs.push((phase, Box::pin(supervise(job, stop, metrics))));
    }

    /// Adds a job if there is one.
    pub(crate) fn add_optional(&mut self, job: Option<impl BackgroundJob>) {
        if let Some(job) = job {
            self.add(job);
        }
    }

    /// Returns the signal that draining begins.
    pub(crate) fn draining(&self) -> CancellationToken {
        self.groups.of(Phase::WhileDraining).stop.clone()
    }

    /// Runs the jobs around `serve`, which drains and returns once [`Self::draining`] is signalled. That happens after
    /// `shutdown`. Returns when every job has stopped, with what `serve` returned.
    pub(crate) async fn run<R>(self, serve: impl Future<Output = R>, shutdown: CancellationToken) -> R {
        let Self {
            telemetry: _,
            jobs,
            groups,
        } = self;
        for (phase, job) in jobs {
            groups.of(phase).tasks.spawn(job);
        }
        let mut serve = pin!(serve);
        let result = tokio::select! {
            // It failed to serve.
            result = &mut serve => result,
            () = shutdown.cancelled() => {
                let begin_draining = async {
                    groups.stop(&[Phase::BeforeDraining]).await;
                    groups.signal(Phase::WhileDraining);
                };
                tokio::join!(serve, begin_draining).0
            }
        };
        groups
            .stop(&[Phase::BeforeDraining, Phase::WhileDraining, Phase::AfterDraining])
            .await;
        groups.stop(&[Phase::Last]).await;
        result
    }
}

impl Groups {
    /// Asks the jobs of these phases to stop, all at once, and waits until they have.
    async fn stop(&self, phases: &[Phase]) {
        for phase in phases {
            self.signal(*phase);
        }
        for phase in phases {
            let tasks = &self.of(*phase).tasks;
            tasks.close();
            tasks.wait().await;
        }
    }

    fn signal(&self, phase: Phase) {
        self.of(phase).stop.cancel();
    }

    const fn of(&self, phase: Phase) -> &Group {
        &self.0[phase as usize]
    }
}

/// Runs a job until `stop`, with a pause before each restart.
async fn supervise(mut job: impl BackgroundJob, stop: CancellationToken, metrics: JobMetrics) {
    let name = job.name();
    tracing::debug!(job = name, "a background job starts");
    let mut pause = FIRST_PAUSE;
    loop {
        metrics.up.set(1.0);
        let (end, is_healthy) = run_once(&mut job, &stop).await;
        metrics.up.set(0.0);
        if is_healthy {
            pause = FIRST_PAUSE;
        }
        let is_stopping = stop.is_cancelled();
        match end {
            RunEnd::Return if is_stopping => {}
            problem if is_stopping => tracing::error!(job = name, %problem, "a background job failed at its stop"),
            problem => tracing::error!(job = name, %problem, restart_in = ?pause, "a background job failed"),
        }
        if is_stopping || stop.run_until_cancelled(sleep(pause)).await.is_none() {
            break;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
        metrics.restarts.increment(1);
        tracing::info!(job = name, "a background job restarts");
    }
    if AssertUnwindSafe(job.finish()).catch_unwind().await.is_err() {
        tracing::error!(job = name, "a background job panicked in its last work");
    }
    tracing::debug!(job = name, "a background job has stopped");
}

/// Returns how a run ended, and whether it was long enough to count as healthy.
async fn run_once(job: &mut impl BackgroundJob, stop: &CancellationToken) -> (RunEnd, bool) {
    let mut run = pin!(AssertUnwindSafe(job.run(stop)).catch_unwind());
    let (outcome, is_healthy) = tokio::select! {
        biased;
        outcome = &mut run => (outcome, false),
        () = sleep(HEALTHY_AFTER) => (run.await, true),
    };
    let end = match outcome {
        Ok(Ok(())) => RunEnd::Return,
        Ok(Err(error)) => RunEnd::Error(error),
        // The panic hook has logged where. The payload is never logged.
        Err(_payload) => RunEnd::Panic,
    };
    (end, is_healthy)
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic => f.write_str("it panicked"),
            Self::Error(error) => error.fmt(f),
            Self::Return => f.write_str("it returned before it was asked to stop"),
        }
    }
}

#[cfg(test)]
mod tests;
