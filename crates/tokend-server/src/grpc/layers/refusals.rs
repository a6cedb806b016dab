//! Records refused calls of the administrative services in the installation's chain of the audit log.
//!
//! This layer is outside of [`framework_errors`](super::framework_errors), so that it records what the framework
//! refuses as well. Only calls of an authenticated caller are recorded, so that strangers can't fill the audit log:
//! their calls are counted, and a sample of them is logged. If a refusal can't be recorded, the answer is the same; the
//! failure is logged and counted. [`refusal_record`](crate::observability::refusal_record) limits how much is recorded
//! of a caller that is refused over and over.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Request};
use tokend_core::audit::{Actor, Chain, Event, EventType, Origin, Outcome, RowAfter};
use tonic::{Code, body::Body};

use super::{
    middleware::{Answer, Middleware},
    outcome::{code, reason},
};
use crate::{
    auth::audit_context::AuditContext,
    grpc::call::{actor, address},
    observability::refusal_record::Recorder,
    operation::Operation,
    transport::RequestService,
};

/// Records refused calls.
#[derive(Clone)]
pub(crate) struct Refusals(pub(crate) Arc<Recorder>);

/// What is known of a call of the administrative services on its way in.
struct Asked {
    audit: Arc<AuditContext>,
    method: &'static str,
    actor: Option<Actor>,
    address: Option<IpAddr>,
}

impl Middleware for Refusals {
    fn call<S: RequestService>(&self, mut request: Request<Body>, inner: &mut S) -> Answer {
        let recorder = Arc::clone(&self.0);
        let address = address(request.extensions());
        let asked = audited_method(&request).map(|method| {
            let audit = Arc::<AuditContext>::default();
            request.extensions_mut().insert(Arc::clone(&audit));
            Asked {
                audit,
                method,
                actor: actor(request.headers()).ok().flatten(),
                address,
            }
        });
        let answer = inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if let Some(event) = event_of(&recorder, response.headers(), asked, address) {
                recorder.record(event).await;
            }
            Ok(response)
        })
    }
}

/// Counts the call if nobody authenticated. Returns the event of any other refused call, if it has to be recorded.
fn event_of(recorder: &Recorder, response: &HeaderMap, asked: Option<Asked>, address: Option<IpAddr>) -> Option<Event> {
    let code = code(response);
    if code == Code::Ok {
        return None;
    }
    let reason = reason(response);
    if recorder.tally().unauthenticated(&reason, address) || !is_a_refusal(code) {
        return None;
    }
    asked?.refused(reason)
}

impl Asked {
    /// Returns the event, or `None` if nobody authenticated.
    fn refused(self, reason: String) -> Option<Event> {
        let Self {
            audit,
            method,
            actor,
            address,
        } = self;
        let caller = audit.caller()?;
        Some(Event {
            chain: Chain::Installation,
            kind: EventType::CallRefused,
            origin: Origin {
                caller: Some(caller.id.clone()),
                actor,
                address,
            },
            resource: audit.subject().to_owned(),
            outcome: Outcome::Refused,
            reason,
            detail: method.to_owned(),
            row: RowAfter::None,
        })
    }
}

/// Returns the name of the method for the audit log, if its refused calls are recorded. The name of an unknown method
/// may be any text, so it is not recorded.
fn audited_method(request: &Request<Body>) -> Option<&'static str> {
    match request.extensions().get::<Operation>() {
        Some(operation) => operation.facts().audits_refusals.then(|| operation.short_name()),
        None => {
            let path = request.uri().path();
            let is_ours = path.starts_with("/tokend.v1.") && !path.starts_with("/tokend.v1.TokenVerify/");
            is_ours.then_some("a method that there is not")
        }
    }
}

/// Returns whether a code means that the call was refused. The others mean that the client gave it up, that it took too
/// long, or that the service failed.
const fn is_a_refusal(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
