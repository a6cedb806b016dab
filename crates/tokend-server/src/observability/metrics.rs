//! The registry of this server's metrics, and the text that Prometheus scrapes.
//!
//! Components ask [`Telemetry`] for their counters and gauges once, when they are built. Counting is then a write to
//! memory that looks nothing up. Labels have few values and never hold anything that a client chose.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokend_store::Store;
use tonic::Code;

use super::{latency::Histogram, striped::BusyCounter};
use crate::operation::Operation;

const REQUESTS: &str = "tokend_requests_total";
const DURATION: &str = "tokend_request_duration_seconds";
const TAMPERED_ROWS: &str = "tokend_tampered_rows_total";
/// The `method` label of requests to a method that does not exist.
const UNKNOWN: &str = "unknown";

/// This server's metrics. Clones share the same registry.
#[derive(Clone)]
pub(crate) struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// Metrics of each operation, in the order of [`Operation::ALL`].
    operations: Arc<[OperationMetrics]>,
    /// Counters that every call raises, and where they are shown.
    busy: Arc<Mutex<Vec<(BusyCounter, Counter)>>>,
}

/// Metrics of one operation.
struct OperationMetrics {
    operation: Operation,
    ok: BusyCounter,
    duration: Histogram,
}

impl Telemetry {
    /// Creates a registry in which nothing was counted.
    pub(crate) fn new() -> Self {
        let recorder = Arc::new(PrometheusBuilder::new().build_recorder());
        let operations: Arc<[_]> = Operation::ALL.iter().copied().map(OperationMetrics::new).collect();
        let busy = with_local_recorder(&*recorder, || {
            describe_counter!(REQUESTS, "Requests by method and gRPC code.");
            describe_counter!(
                TAMPERED_ROWS,
                "Rows that were refused because they are not what tokend wrote, by table."
            );
            let shown = operations.iter().map(|OperationMetrics { operation, ok, .. }| {
                let shown = counter!(REQUESTS, "method" => operation.name(), "code" => code_name(Code::Ok));
                (ok.clone(), shown)
            });
            shown.collect()
        });
        Self {
            handle: recorder.handle(),
            recorder,
            operations,
            busy: Arc::new(Mutex::new(busy)),
        }
    }

    /// Returns all metrics in Prometheus's text format, those that the store counts included.
    pub(crate) fn render(&self, store: &Store) -> String {
        with_local_recorder(&*self.recorder, || {
            for (table, rows) in store.refused_rows() {
                counter!(TAMPERED_ROWS, "table" => table).absolute(rows);
            }
        });
        self.text()
    }

    /// Returns the metrics of this registry alone.
    pub(crate) fn text(&self) -> String {
        for (counted, shown) in &*self.busy.lock().unwrap_or_else(PoisonError::into_inner) {
            shown.absolute(counted.total());
        }
        let mut text = self.handle.render();
        text.push_str(&format!(
            "# HELP {DURATION} Time from a request's head to the head of its answer.\n# TYPE {DURATION} histogram\n"
        ));
        for OperationMetrics {
            operation, duration, ..
        } in &*self.operations
        {
            duration.write(&mut text, DURATION, &format!("method=\"{}\"", operation.name()));
        }
        text
    }

    /// Sets the help text of the counters with this name.
    pub(crate) fn describe(&self, name: &'static str, help: &'static str) {
        with_local_recorder(&*self.recorder, || describe_counter!(name, help));
    }

    /// Creates a counter, which starts at zero.
    pub(crate) fn counter(&self, name: &'static str, label: Option<(&'static str, &'static str)>) -> Counter {
        with_local_recorder(&*self.recorder, || match label {
            Some((label, value)) => counter!(name, label => value),
            None => counter!(name),
        })
    }

    /// Creates a counter that every call raises. It starts at zero.
    pub(crate) fn busy_counter(&self, name: &'static str, label: Option<(&'static str, &'static str)>) -> BusyCounter {
        let (counted, shown) = (BusyCounter::default(), self.counter(name, label));
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.push((counted.clone(), shown));
        counted
    }

    /// Creates a gauge with its help text.
    pub(crate) fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        with_local_recorder(&*self.recorder, || {
            describe_gauge!(name, help);
            gauge!(name)
        })
    }

    /// Creates a gauge that has a label, with its help text.
    pub(crate) fn labelled_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        (label, value): (&'static str, &'static str),
    ) -> Gauge {
        with_local_recorder(&*self.recorder, || {
            describe_gauge!(name, help);
            gauge!(name, label => value)
        })
    }

    /// Counts a request that was answered with `code` after `duration`. A request to an unknown method has no
    /// operation.
    pub(crate) fn record_request(&self, operation: Option<Operation>, code: Code, duration: Duration) {
        let Some(operation) = operation else {
            return self.count_failure(UNKNOWN, code);
        };
        let metrics = &self.operations[operation as usize];
        match code {
            Code::Ok => metrics.ok.increment(),
            code => self.count_failure(operation.name(), code),
        }
        metrics.duration.record(duration);
    }

    fn count_failure(&self, method: &'static str, code: Code) {
        with_local_recorder(&*self.recorder, || {
            counter!(REQUESTS, "method" => method, "code" => code_name(code)).increment(1)
        });
    }
}

impl OperationMetrics {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            ok: BusyCounter::default(),
            duration: Histogram::default(),
        }
    }
}

/// Returns the name of a code as gRPC's documentation spells it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process::Command};

    use super::*;

    const CALLS: u64 = 2_000_000;

    /// Set in the process that runs this test alone.
    const ALONE: &str = "TOKEND_TEST_ALONE";

    /// Other tests of one process allocate meanwhile, so this one has a process of its own.
    #[test]
    fn calls_that_nobody_scrapes_take_no_memory() {
        if env::var_os(ALONE).is_some() {
            return count_calls();
        }
        let (_, module) = module_path!().split_once("::").expect("a module of the crate");
        let alone = Command::new(env::current_exe().expect("the program has a path"))
            .args([
                "--exact",
                &format!("{module}::calls_that_nobody_scrapes_take_no_memory"),
            ])
            .env(ALONE, "1")
            .output()
            .expect("the program runs");
        let told = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && told.contains("1 passed"), "{told}");
    }

    fn count_calls() {
        let telemetry = Telemetry::new();
        let count = |calls| {
            for call in 0..calls {
                let duration = Duration::from_nanos(call % 1_000 * 10_007);
                telemetry.record_request(Some(Operation::Verify), Code::Ok, duration);
            }
        };
        count(1_000);
        let before = resident_kib();
        count(CALLS);
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 1_024, "{CALLS} calls took {grown} KiB");
        let text = telemetry.text();
        let total = format!("code=\"OK\"}} {}", CALLS + 1_000);
        assert!(text.contains(&total), "{text}");
    }

    fn resident_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).expect("a number of KiB")
    }
}
