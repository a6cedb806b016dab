//! Counts and times every request. Labels are method and code: few, and never anything that a client chose.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokend_core::clock::Clock;
use tokend_store::Store;
use tonic::{Code, body::Body};
use tower::Service;

use crate::{rules::RULES, tls};

const REQUESTS: &str = "tokend_requests_total";
const DURATION: &str = "tokend_request_duration_seconds";
const TAMPERED_ROWS: &str = "tokend_tampered_rows_total";
const CERTIFICATE_END: &str = "tokend_tls_certificate_expire_time_seconds";
const TLS_CHANGES: &str = "tokend_tls_file_changes_total";
/// The method of whatever is not served.
const UNKNOWN: &str = "unknown";
/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

/// Durations after which the exporter sums them up. It keeps each of them until then, and otherwise does it only when it is scraped.
const DURATIONS_AT_ONCE: u64 = 4_096;

/// This server's metrics.
#[derive(Clone)]
pub(crate) struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// By path, made beforehand: a request that succeeds looks nothing up but its path.
    methods: Arc<HashMap<&'static str, Method>>,
    /// How many durations were recorded.
    durations: Arc<AtomicU64>,
    clock: Clock,
}

struct Method {
    name: &'static str,
    ok: Counter,
    duration: Histogram,
}

impl Telemetry {
    /// No request yet.
    pub(crate) fn new(clock: Clock) -> Result<Self, BuildError> {
        let recorder = Arc::new(PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder());
        let methods = with_local_recorder(&*recorder, || {
            describe_counter!(REQUESTS, "Requests by method and gRPC code.");
            describe_counter!(TAMPERED_ROWS, "Rows that were refused because they are not what tokend wrote, by table.");
            describe_histogram!(DURATION, "Time from a request's head to the head of its answer.");
            RULES.iter().map(|(path, _)| (*path, Method::new(path))).collect()
        });
        Ok(Self { handle: recorder.handle(), recorder, methods: Arc::new(methods), durations: Arc::default(), clock })
    }

    /// The metrics in Prometheus's text format, with what the store has counted.
    pub(crate) fn render(&self, store: &Store) -> String {
        with_local_recorder(&*self.recorder, || {
            for (table, rows) in store.refused_rows() {
                counter!(TAMPERED_ROWS, "table" => table).absolute(rows);
            }
        });
        self.handle.render()
    }

    /// Says what a counter of that name counts.
    pub(crate) fn describe(&self, name: &'static str, what: &'static str) {
        with_local_recorder(&*self.recorder, || describe_counter!(name, what));
    }

    /// A counter, made beforehand: it starts at zero, and counting looks nothing up.
    pub(crate) fn counter(&self, name: &'static str, label: Option<(&'static str, &'static str)>) -> Counter {
        with_local_recorder(&*self.recorder, || match label {
            Some((label, value)) => counter!(name, label => value),
            None => counter!(name),
        })
    }

    /// A gauge, made beforehand, and what it shows.
    pub(crate) fn gauge(&self, name: &'static str, what: &'static str) -> Gauge {
        with_local_recorder(&*self.recorder, || {
            describe_gauge!(name, what);
            gauge!(name)
        })
    }

    /// Of the files that TLS is made of; told from then on.
    pub(crate) fn of_tls_files(&self) -> tls::Gauges {
        with_local_recorder(&*self.recorder, || {
            describe_gauge!(CERTIFICATE_END, "When the certificate that is served ends, in seconds since 1970.");
            describe_counter!(TLS_CHANGES, "Changes of the TLS files, by whether they could be used.");
            tls::Gauges {
                expire_time: gauge!(CERTIFICATE_END),
                taken: counter!(TLS_CHANGES, "outcome" => "taken"),
                refused: counter!(TLS_CHANGES, "outcome" => "refused"),
            }
        })
    }

    /// Records how long a request took.
    fn record_duration(&self, method: &Method, duration: Duration) {
        method.duration.record(duration);
        if (self.durations.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(DURATIONS_AT_ONCE) {
            self.handle.run_upkeep();
        }
    }

    fn count_failure(&self, method: &'static str, code: Code) {
        with_local_recorder(&*self.recorder, || counter!(REQUESTS, "method" => method, "code" => code_name(code)).increment(1));
    }
}

impl Method {
    fn new(path: &'static str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        Self {
            name,
            ok: counter!(REQUESTS, "method" => name, "code" => code_name(Code::Ok)),
            duration: histogram!(DURATION, "method" => name),
        }
    }
}

/// Wraps the service that answers.
#[derive(Clone)]
pub(crate) struct Measured<S> {
    pub(crate) telemetry: Telemetry,
    pub(crate) inner: S,
}

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let telemetry = self.telemetry.clone();
        let path = telemetry.methods.get_key_value(request.uri().path()).map(|(path, _)| *path);
        let start = telemetry.clock.boot_time();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            let method = path.and_then(|path| telemetry.methods.get(path));
            match (method, code(response.headers())) {
                (Some(method), Code::Ok) => method.ok.increment(1),
                (method, code) => telemetry.count_failure(method.map_or(UNKNOWN, |method| method.name), code),
            }
            if let Some(method) = method {
                telemetry.record_duration(method, telemetry.clock.boot_time().saturating_since(start));
            }
            Ok(response)
        })
    }
}

/// The code of a failure travels in the headers; a success tells its own behind the message.
fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

const fn code_name(code: Code) -> &'static str {
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
    use std::fs;

    use super::*;

    /// What this process has resident, in bytes.
    fn resident() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is told");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    }

    #[test]
    fn memory_is_bounded_when_nobody_scrapes() {
        const CALLS: u64 = 2_000_000;
        const MOST: u64 = 16 << 20;
        let telemetry = Telemetry::new(Clock::system()).expect("it is made");
        let methods = Arc::clone(&telemetry.methods);
        let method = methods.get("/tokend.v1.TokenVerify/Verify").expect("it is served");
        let record = |calls: u64| (0..calls).for_each(|_| telemetry.record_duration(method, Duration::from_micros(300)));
        record(10_000);
        let before = resident();
        record(CALLS - 10_000);
        let grown = resident().saturating_sub(before);
        assert!(grown < MOST, "{grown} bytes for {CALLS} calls");
        let told = telemetry.handle.render();
        assert!(told.contains(&format!("{DURATION}_count{{method=\"{}\"}} {CALLS}", method.name)), "{told}");
    }
}
