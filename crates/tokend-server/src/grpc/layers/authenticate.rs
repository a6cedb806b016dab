//! Who calls, and may they? Deny by default, for everything that the server serves.
//!
//! A tonic interceptor covers only the service that it wraps; this layer stands before all of them, and a path without
//! an [operation](crate::operation) goes nowhere. What passes carries the [`Authenticated`] caller as an extension; a
//! handler that finds none refuses.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Request, header::AUTHORIZATION};
use tokend_core::{caller::Caller, log_limit::LogLimit};
use tokend_store::Store;
use tonic::body::Body;

use super::middleware::{Answer, Middleware, refused};
use crate::{
    auth::{
        Authenticated,
        audit_context::AuditContext,
        authenticator::{Authenticator, Credentials, PresentedKey, Source},
        failed_authentications::FailedAuthentications,
        last_caller::LastCaller,
    },
    error::ServiceError,
    grpc::call::address,
    limits::room::{Holder, Room, Sizes},
    observability::request_span,
    operation::{Access, Facts, Operation, Traffic},
    transport::{Connection, Peer, RequestService},
    usage::UsageRecorder,
    verifier::{Lane, Trusted, Verifier},
};

/// Lets requests in whose caller may make them.
#[derive(Debug)]
pub(crate) struct Gate {
    authenticator: Authenticator,
    /// Whose connections there are.
    connections: Arc<Room>,
}

impl Middleware for Arc<Gate> {
    fn call<S: RequestService>(&self, mut request: Request<Body>, inner: &mut S) -> Answer {
        let (gate, mut inner) = (Arc::clone(self), inner.clone());
        Box::pin(async move {
            match gate.admit(&mut request).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Ok(refused(error)),
            }
        })
    }
}

impl Gate {
    /// Creates the gate of a server that may have `max_connections`.
    pub(crate) fn new(
        store: Store,
        settings: &tokend_store::StoreSettings,
        verifier: Verifier,
        failures: FailedAuthentications,
        usage: Arc<UsageRecorder>,
        expired_keys: LogLimit,
        max_connections: usize,
    ) -> Self {
        Self {
            authenticator: Authenticator::new(store, settings, verifier, failures, usage, expired_keys),
            connections: Room::new(Sizes::shares_of(max_connections.div_ceil(4))),
        }
    }

    /// Returns the caller of a call for verdicts on a connection that is a caller's, if `memory` alone says that it may
    /// make the call. `last` is the connection's. Whatever else the call is, [`admit`](Self::admit) finds out.
    pub(crate) fn remembered<'l>(
        &self,
        memory: &Trusted<'_>,
        facts: &Facts,
        peer: &Peer,
        headers: &HeaderMap,
        last: &'l mut LastCaller,
    ) -> Option<&'l Caller> {
        if !peer.connection.is_known() {
            return None;
        }
        let credentials = Credentials {
            key: key(headers),
            certificate: peer.certificate.clone(),
            address: Some(peer.address.0.ip()),
        };
        let caller = last.or_remembered(&self.authenticator, memory, &credentials)?;
        facts.access.allows(caller.role).then_some(caller)
    }

    /// Lets a request through whose caller may make it, and marks it with the caller.
    pub(crate) async fn admit(&self, request: &mut Request<Body>) -> Result<(), ServiceError> {
        let operation = request.extensions().get::<Operation>().copied();
        let facts = operation.map(Operation::facts);
        if facts.is_some_and(|facts| facts.access == Access::Anyone) {
            return Ok(());
        }
        // Who calls is asked before whether there is such a method: strangers learn nothing of what is served.
        // Revocations are not delayed by the look-ups of other calls.
        let from = match facts {
            Some(facts) if facts.asks_for_verdicts => Source::Memory,
            Some(facts) if facts.traffic == Traffic::Revocation => Source::Database(Lane::Reserved),
            _ => Source::Database(Lane::Ordinary),
        };
        let credentials = credentials(request.headers(), request.extensions());
        let authenticated = self.authenticator.authenticate(credentials, from).await?;
        let caller = &authenticated.caller;
        // A call that waited for its message is authenticated a second time.
        if request.extensions().get::<Authenticated>().is_none() {
            request_span::record_caller(&caller.id);
        }
        // Also of a call that its role does not allow.
        if let Some(audit) = request.extensions().get::<Arc<AuditContext>>() {
            audit.set_caller(caller);
        }
        // A caller's connections beyond its share stay strangers'.
        if let Some(connection) = request.extensions().get::<Connection>()
            && !connection.is_known()
            && let Some(place) = self.connections.take(Holder::caller(caller), 1, false)
        {
            connection.becomes_known(place);
        }
        let Some(facts) = facts else {
            return Err(ServiceError::UnknownMethod(request.uri().path().to_owned()));
        };
        if !facts.access.allows(caller.role) {
            return Err(ServiceError::RoleNotAllowed {
                caller: caller.id.name(),
                method: facts.path.to_owned(),
            });
        }
        request.extensions_mut().insert(authenticated);
        Ok(())
    }
}

/// Returns what the request presents to show who calls.
fn credentials<'a>(headers: &'a HeaderMap, extensions: &Extensions) -> Credentials<'a> {
    Credentials {
        key: key(headers),
        certificate: extensions.get().cloned(),
        address: address(extensions),
    }
}

/// Returns the caller key. Two keys are malformed, because it is not clear which one counts.
fn key(headers: &HeaderMap) -> PresentedKey<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => PresentedKey::Absent,
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(bearer)
            .map_or(PresentedKey::Malformed, PresentedKey::Text),
        (Some(_), Some(_)) => PresentedKey::Malformed,
    }
}

/// Returns the token of a bearer credential (RFC 6750 section 2.1); the scheme's name is case-insensitive (RFC 9110
/// section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start_matches(' '))
}
