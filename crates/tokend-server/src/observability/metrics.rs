//! The registry of this server's metrics, and the text that Prometheus scrapes.
//!
//! Components ask [`Telemetry`] for their counters and gauges once, when they are built. Counting is then a write to
//! memory that looks nothing up. Labels have few values and never hold anything that a client chose.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokend_store::Store;
use tonic::Code;

use super::latency::Histogram;
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
}

/// Metrics of one operation.
struct OperationMetrics {
    operation: Operation,
    ok: Counter,
    duration: Histogram,
}

impl Telemetry {
    /// Creates a registry in which nothing was counted.
    pub(crate) fn new() -> Self {
        let recorder = Arc::new(PrometheusBuilder::new().build_recorder());
        let operations = with_local_recorder(&*recorder, || {
            describe_counter!(REQUESTS, "Requests by method and gRPC code.");
            describe_counter!(
                TAMPERED_ROWS,
                "Rows that were refused because they are not what tokend wrote, by table."
            );
            Operation::ALL.iter().copied().map(OperationMetrics::new).collect()
        });
        Self {
            handle: recorder.handle(),
            recorder,
            operations,
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
            Code::Ok => metrics.ok.increment(1),
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
            ok: counter!(REQUESTS, "method" => operation.name(), "code" => code_name(Code::Ok)),
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
