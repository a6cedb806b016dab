//! A lean HTTP/2 client that keeps a fixed number of calls in flight and checks every answer.
//!
//! It runs on one thread, on the `h2` crate directly: requests are encoded once, before anything is measured, and an
//! answer is checked by its status and first bytes, one in 64 as a whole. What it costs is reported beside the
//! server's cost. A wrong answer or an error ends the run.

mod connection;
mod histogram;
mod target;

use std::{
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokend_core::time::Clock;
use tokio::{task::JoinSet, time::sleep};

pub use self::{
    histogram::Histogram,
    target::{Answers, Target},
};
use crate::{BoxError, cpu::CpuTimes, statistics::SplitMix64};

/// One in so many answers is decoded and compared as a whole.
const SAMPLE: u64 = 64;

/// Most calls in flight.
const MAX_CALLS: usize = 512;

/// How many connections, and how many calls in flight on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Calls in flight on each connection.
    pub streams: usize,
}

/// What was measured during one window, or during several that were added up.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Calls that were answered.
    pub calls: u64,
    /// The length of the window.
    pub elapsed: Duration,
    /// CPU time of the server's process.
    pub server_cpu: Duration,
    /// CPU time of this process.
    pub driver_cpu: Duration,
    /// The latencies of the calls.
    pub latencies: Histogram,
}

/// Which calls are made, in which order.
enum Plan {
    /// Calls with random requests, until [`Shared::stop`].
    Endless,
    /// This many calls, with each request in turn.
    Count { calls: u64, next: AtomicU64 },
}

/// What all calls of a run share. They are on one thread, so that nobody waits for a lock.
struct Shared {
    target: Arc<Target>,
    clock: Clock,
    plan: Plan,
    stop: AtomicBool,
    latencies: Mutex<Histogram>,
}

/// Connections with calls in flight.
struct Load {
    shared: Arc<Shared>,
    calls: JoinSet<Result<(), BoxError>>,
    connections: JoinSet<()>,
}

/// Measures one window of this length, or longer if no call is answered, on new connections, after `warm_up`.
///
/// # Errors
/// The server can't be reached, or an answer is wrong.
pub async fn measure(
    target: &Arc<Target>,
    shape: Shape,
    warm_up: Duration,
    length: Duration,
) -> Result<Window, BoxError> {
    let mut load = Load::start(target, shape, Plan::Endless).await?;
    let shared = Arc::clone(&load.shared);
    sleep(warm_up).await;
    shared.latencies().clear();
    let before = Reading::take(&shared)?;
    sleep(length).await;
    // On a machine that has no time for these processes, a window lasts until it can be compared.
    while shared.latencies().count() == 0 {
        tokio::select! {
            Some(ended) = load.calls.join_next() => ended??,
            () = sleep(length) => {}
        }
    }
    let after = Reading::take(&shared)?;
    let latencies = shared.latencies().clone();
    shared.stop.store(true, Ordering::Relaxed);
    load.end().await?;
    Ok(Window {
        calls: latencies.count(),
        elapsed: after.time.saturating_since(before.time),
        server_cpu: after.server.since(&before.server),
        driver_cpu: after.driver.since(&before.driver),
        latencies,
    })
}

/// Makes exactly this many calls, with each of the target's requests in turn.
///
/// # Errors
/// The server can't be reached, or an answer is wrong.
pub async fn call(target: &Arc<Target>, shape: Shape, calls: u64) -> Result<(), BoxError> {
    let next = AtomicU64::new(0);
    Load::start(target, shape, Plan::Count { calls, next })
        .await?
        .end()
        .await
}

/// Makes the first call, and returns the size of its answer's message.
///
/// # Errors
/// The server can't be reached, or an answer is wrong.
pub async fn answer_size(target: &Arc<Target>) -> Result<usize, BoxError> {
    let mut connections = JoinSet::new();
    let sender = connection::open(target, &mut connections).await?;
    let (sender, answer) = connection::call(sender, target, 0).await?;
    target.check(0, &answer, true)?;
    drop(sender);
    while connections.join_next().await.is_some() {}
    Ok(answer.len() - target::FRAME_HEAD)
}

struct Reading {
    time: tokend_core::time::BootTime,
    server: CpuTimes,
    driver: CpuTimes,
}

impl Reading {
    fn take(shared: &Shared) -> Result<Self, BoxError> {
        Ok(Self {
            time: shared.clock.boot_time(),
            server: CpuTimes::read(shared.target.pid)?,
            driver: CpuTimes::read(std::process::id())?,
        })
    }
}

impl Load {
    async fn start(target: &Arc<Target>, shape: Shape, plan: Plan) -> Result<Self, BoxError> {
        let shared = Arc::new(Shared {
            target: Arc::clone(target),
            clock: Clock::system(),
            plan,
            stop: AtomicBool::new(false),
            latencies: Mutex::default(),
        });
        let mut load = Self {
            shared: Arc::clone(&shared),
            calls: JoinSet::new(),
            connections: JoinSet::new(),
        };
        let mut senders = Vec::with_capacity(shape.connections);
        for _ in 0..shape.connections {
            senders.push(connection::open(target, &mut load.connections).await?);
        }
        for (number, sender) in senders.iter().enumerate() {
            for stream in 0..shape.streams {
                let seed = number * shape.streams + stream;
                let random = SplitMix64(u64::try_from(seed)?);
                load.calls
                    .spawn(connection::calls(sender.clone(), Arc::clone(&shared), random));
            }
        }
        Ok(load)
    }

    /// Waits until all calls are answered and the connections are closed.
    async fn end(mut self) -> Result<(), BoxError> {
        while let Some(ended) = self.calls.join_next().await {
            ended??;
        }
        while self.connections.join_next().await.is_some() {}
        Ok(())
    }
}

impl Shared {
    /// Returns the number of the next request, or nothing if no more calls are to be made.
    fn next(&self, random: &mut SplitMix64) -> Option<usize> {
        let requests = self.target.requests.len();
        match &self.plan {
            Plan::Endless if self.stop.load(Ordering::Relaxed) => None,
            Plan::Endless => Some(random.below(requests)),
            Plan::Count { calls, next } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let number = (number < *calls).then_some(number)?;
                usize::try_from(number).ok().map(|number| number % requests)
            }
        }
    }

    fn latencies(&self) -> MutexGuard<'_, Histogram> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Adds another window.
    pub fn add(&mut self, other: &Self) {
        let Self {
            calls,
            elapsed,
            server_cpu,
            driver_cpu,
            latencies,
        } = other;
        self.calls += calls;
        self.elapsed += *elapsed;
        self.server_cpu += *server_cpu;
        self.driver_cpu += *driver_cpu;
        self.latencies.add(latencies);
    }

    /// Returns the server's CPU time for one call, in microseconds.
    #[must_use]
    pub fn server_micros(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.calls as f64
    }

    /// Returns this process's CPU time for one call, in microseconds.
    #[must_use]
    pub fn driver_micros(&self) -> f64 {
        self.driver_cpu.as_secs_f64() * 1e6 / self.calls as f64
    }

    /// Returns the calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns a quantile of the latencies, in microseconds.
    #[must_use]
    pub fn latency_micros(&self, part: f64) -> f64 {
        self.latencies.quantile(part).as_secs_f64() * 1e6
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.connections, self.streams)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (connections, streams) = text.split_once('x')?;
            let (connections, streams) = (connections.parse().ok()?, streams.parse().ok()?);
            // Within tokend's limits for one connection and for one caller.
            let is_possible = (1..=MAX_CALLS).contains(&connections)
                && (1..=64).contains(&streams)
                && connections * streams <= MAX_CALLS;
            is_possible.then_some(Self { connections, streams })
        };
        parsed().ok_or_else(|| {
            format!(
                "`{text}` is not CONNECTIONSxSTREAMS, such as 8x8: 1 to 64 streams on each connection, and at most \
                 {MAX_CALLS} in all"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_two_numbers() {
        let shape: Shape = "8x16".parse().expect("it is a shape");
        assert_eq!((shape.connections, shape.streams), (8, 16));
        assert_eq!(shape.to_string(), "8x16");
        for wrong in ["", "8", "8x", "0x1", "1x0", "1x65", "8 x 8", "8x8x8", "16x64"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_add_up() {
        let window = |calls: u64, micros: u64| Window {
            calls,
            elapsed: Duration::from_millis(10),
            server_cpu: Duration::from_micros(micros),
            ..Window::default()
        };
        let mut both = window(100, 500);
        both.add(&window(300, 300));
        assert_eq!((both.calls, both.elapsed), (400, Duration::from_millis(20)));
        assert!((both.server_micros() - 2.0).abs() < 1e-9 && (both.rate() - 20_000.0).abs() < 1e-6);
    }
}
