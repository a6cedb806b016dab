//! Finds each request's operation, gives the request an id and a span, counts it and times it.
//!
//! At `debug` the log gets one line for each request, when it is over: a stream when its last message was sent, any
//! other call when it is answered. A request that its client gave up is over, too, with the code CANCELLED.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokend_core::time::{BootTime, Clock};
use tonic::{Code, Status, body::Body};
use tracing::{Instrument, Span};

use super::{
    middleware::{Answer, Middleware},
    outcome,
};
use crate::{
    observability::{
        metrics::{Telemetry, code_name},
        request_id::RequestId,
        request_span,
    },
    operation::Operation,
    transport::RequestService,
};

/// Observes every request.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Clock,
}

impl Middleware for Requests {
    fn call<S: RequestService>(&self, mut request: Request<Body>, inner: &mut S) -> Answer {
        let Self { telemetry, clock } = self.clone();
        let (id, operation) = (RequestId::next(), Operation::of(request.uri().path()));
        request.extensions_mut().insert(id);
        if let Some(operation) = operation {
            request.extensions_mut().insert(operation);
        }
        let span = request_span::open(id, operation);
        let mut log_line = LogLine::new(span.clone(), clock.clone());
        let answer = span.in_scope(|| id.sync_scope(|| inner.call(request)));
        let answer = id.scope(answer.instrument(span));
        Box::pin(async move {
            let response = answer.await?;
            let code = code(&response);
            telemetry.record_request(operation, code, clock.boot_time().saturating_since(log_line.start));
            log_line.set_outcome(code, response.headers());
            let is_stream = operation.is_some_and(|operation| operation.facts().traffic.is_stream());
            if !is_stream || code != Code::Ok {
                return Ok(response);
            }
            // The outcome of a stream is in its trailers. Without them, its client gave it up.
            log_line.code = Code::Cancelled;
            Ok(response.map(|body| Body::new(Stream { body, id, log_line })))
        })
    }
}

/// Returns the code of a response. What was no gRPC call is answered by HTTP alone.
fn code(response: &Response<Body>) -> Code {
    if response.status().is_success() {
        outcome::code(response.headers())
    } else {
        Code::Unknown
    }
}

/// The line that the log gets when it is dropped, which is when the request is over.
struct LogLine {
    span: Span,
    clock: Clock,
    start: BootTime,
    code: Code,
    reason: String,
}

impl LogLine {
    fn new(span: Span, clock: Clock) -> Self {
        Self {
            span,
            start: clock.boot_time(),
            clock,
            code: Code::Cancelled,
            reason: String::new(),
        }
    }

    fn set_outcome(&mut self, code: Code, headers: &HeaderMap) {
        self.code = code;
        if code != Code::Ok && !self.span.is_disabled() {
            self.reason = outcome::reason(headers);
        }
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        if self.span.is_disabled() {
            return;
        }
        let duration = self.clock.boot_time().saturating_since(self.start);
        self.span.record("code", code_name(self.code));
        if !self.reason.is_empty() {
            self.span.record("reason", self.reason.as_str());
        }
        self.span
            .record("duration_us", u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.span.in_scope(|| tracing::debug!("request finished"));
    }
}

/// The body of a stream, which is part of its request.
struct Stream {
    body: Body,
    id: RequestId,
    log_line: LogLine,
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, id, log_line } = self.get_mut();
        let body = Pin::new(body);
        let frame = log_line.span.in_scope(|| id.sync_scope(|| body.poll_frame(cx)));
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            log_line.set_outcome(outcome::code(trailers), trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    use tower::{Layer, Service, service_fn};

    use super::{super::middleware::Around, *};

    const CALLS: u64 = 2_000_000;

    /// Memory of this process that the system holds in RAM, in bytes.
    fn resident_bytes() -> u64 {
        let statm = fs::read_to_string("/proc/self/statm").expect("Linux reports memory");
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .expect("a number of pages");
        pages * 4_096
    }

    /// Set in the process that measures, which runs this one test: what the others allocate does not count.
    const MEASURES: &str = "TOKEND_TEST_MEASURES_MEMORY";

    #[test]
    fn calls_that_nobody_scrapes_take_no_memory() {
        if env::var_os(MEASURES).is_some() {
            return measure();
        }
        let this = "grpc::layers::telemetry::tests::calls_that_nobody_scrapes_take_no_memory";
        let mut alone = Command::new(env::current_exe().expect("this test is a program"));
        let alone = alone
            .args([this, "--exact", "--nocapture"])
            .env(MEASURES, "1")
            .stdin(Stdio::null());
        let output = alone.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ran_it = String::from_utf8_lossy(&output.stdout).contains("1 passed");
        assert!(ran_it, "{output:?}");
    }

    fn measure() {
        let telemetry = Telemetry::new();
        let inner = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
        let requests = Requests {
            telemetry: telemetry.clone(),
            clock: Clock::system(),
        };
        let mut service = Around(requests).layer(inner);
        let mut call = || {
            let request = Request::builder()
                .uri("/tokend.v1.TokenVerify/Verify")
                .body(Body::empty())
                .expect("a request");
            service
                .call(request)
                .now_or_never()
                .expect("it is answered at once")
                .expect("it is answered");
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
