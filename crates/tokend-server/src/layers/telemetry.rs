//! Counts and times every request. Labels are method and code: few, and never anything that a client chose.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokend_core::clock::Clock;
use tokend_store::Store;
use tonic::{Code, body::Body};
use tower::Service;

use super::latency::Histogram;
use crate::{rules::RULES, tls};

const REQUESTS: &str = "tokend_requests_total";
const DURATION: &str = "tokend_request_duration_seconds";
const TAMPERED_ROWS: &str = "tokend_tampered_rows_total";
const CERTIFICATE_END: &str = "tokend_tls_certificate_expire_time_seconds";
const TLS_CHANGES: &str = "tokend_tls_file_changes_total";
/// The method of whatever is not served.
const UNKNOWN: &str = "unknown";

/// This server's metrics.
#[derive(Clone)]
pub(crate) struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// By path, made beforehand: a request that succeeds looks nothing up but its path.
    methods: Arc<HashMap<&'static str, Method>>,
    clock: Clock,
}

struct Method {
    name: &'static str,
    ok: Counter,
    duration: Histogram,
}

impl Telemetry {
    /// No request yet.
    pub(crate) fn new(clock: Clock) -> Self {
        let recorder = Arc::new(PrometheusBuilder::new().build_recorder());
        let methods = with_local_recorder(&*recorder, || {
            describe_counter!(REQUESTS, "Requests by method and gRPC code.");
            describe_counter!(TAMPERED_ROWS, "Rows that were refused because they are not what tokend wrote, by table.");
            RULES.iter().map(|(path, _)| (*path, Method::new(path))).collect()
        });
        Self { handle: recorder.handle(), recorder, methods: Arc::new(methods), clock }
    }

    /// The metrics in Prometheus's text format, with what the store has counted.
    pub(crate) fn render(&self, store: &Store) -> String {
        with_local_recorder(&*self.recorder, || {
            for (table, rows) in store.refused_rows() {
                counter!(TAMPERED_ROWS, "table" => table).absolute(rows);
            }
        });
        self.text()
    }

    fn text(&self) -> String {
        let mut text = self.handle.render();
        text.push_str(&format!(
            "# HELP {DURATION} Time from a request's head to the head of its answer.\n# TYPE {DURATION} histogram\n"
        ));
        for method in self.methods.values() {
            method.duration.write(&mut text, DURATION, &format!("method=\"{}\"", method.name));
        }
        text
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

    fn count_failure(&self, method: &'static str, code: Code) {
        with_local_recorder(&*self.recorder, || counter!(REQUESTS, "method" => method, "code" => code_name(code)).increment(1));
    }
}

impl Method {
    fn new(path: &'static str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        Self { name, ok: counter!(REQUESTS, "method" => name, "code" => code_name(Code::Ok)), duration: Histogram::default() }
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
            match (method, code(&response)) {
                (Some(method), Code::Ok) => method.ok.increment(1),
                (method, code) => telemetry.count_failure(method.map_or(UNKNOWN, |method| method.name), code),
            }
            if let Some(method) = method {
                method.duration.record(telemetry.clock.boot_time().saturating_since(start));
            }
            Ok(response)
        })
    }
}

/// The code of a failure travels in the headers; a success tells its own behind the message.
fn code(response: &Response<Body>) -> Code {
    match response.headers().get("grpc-status") {
        Some(status) => Code::from_bytes(status.as_bytes()),
        None if response.status().is_success() => Code::Ok,
        // What was no call is answered by HTTP alone.
        None => Code::Unknown,
    }
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
    use std::{
        convert::Infallible,
        env, fs,
        future::ready,
        process::{Command, Stdio},
    };

    use futures_util::FutureExt;
    use tower::service_fn;

    use super::*;

    const CALLS: u64 = 2_000_000;

    /// Memory of this process that the system holds in RAM, in bytes.
    fn resident_bytes() -> u64 {
        let statm = fs::read_to_string("/proc/self/statm").expect("Linux reports memory");
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
        pages * 4_096
    }

    /// Set in the process that measures, which runs this one test: what the others allocate does not count.
    const MEASURES: &str = "TOKEND_TEST_MEASURES_MEMORY";

    #[test]
    fn calls_that_nobody_scrapes_take_no_memory() {
        if env::var_os(MEASURES).is_some() {
            return measure();
        }
        let this = "layers::telemetry::tests::calls_that_nobody_scrapes_take_no_memory";
        let mut alone = Command::new(env::current_exe().expect("this test is a program"));
        let alone = alone.args([this, "--exact", "--nocapture"]).env(MEASURES, "1").stdin(Stdio::null());
        let output = alone.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ran_it = String::from_utf8_lossy(&output.stdout).contains("1 passed");
        assert!(ran_it, "{output:?}");
    }

    fn measure() {
        let telemetry = Telemetry::new(Clock::system());
        let inner = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
        let mut service = Measured { telemetry: telemetry.clone(), inner };
        let mut call = || {
            let request = Request::builder().uri("/tokend.v1.TokenVerify/Verify").body(Body::empty()).expect("a request");
            service.call(request).now_or_never().expect("it is answered at once").expect("it is answered");
        };
        call();
        let before = resident_bytes();
        (1..CALLS).for_each(|_| call());
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 16 * 1024 * 1024, "{grown} bytes more after {CALLS} calls");
        let text = telemetry.text();
        let line = format!("tokend_request_duration_seconds_count{{method=\"tokend.v1.TokenVerify/Verify\"}} {CALLS}");
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
