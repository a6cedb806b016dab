//! A gRPC request becomes a [`CallContext`] and a message. Metadata and extensions are read here and nowhere below.

use std::{net::IpAddr, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName};
use tokend_core::audit::{Actor, MalformedActor};
use tonic::Request;

use crate::{
    auth::{Authenticated, CallContext, audit_context::AuditContext},
    error::ServiceError,
    observability::{request_id::RequestId, request_span},
    operation::Subject,
    transport::PeerAddress,
};

/// The metadata by which a caller asserts on whose behalf it acts.
const ACTOR: HeaderName = HeaderName::from_static("x-tokend-actor");

/// Returns the message of an authenticated request, and the context of the call.
///
/// # Errors
/// [`ServiceError::MissingCredential`] if the request did not pass the layer that authenticates, which therefore can't
/// be bypassed; [`ServiceError::InvalidActor`] if the asserted actor can't be recorded.
pub(crate) fn authenticated<T: Subject>(request: Request<T>) -> Result<(CallContext, T), ServiceError> {
    let (metadata, extensions, message) = request.into_parts();
    let call = context(&extensions)?;
    let subject = message.subject();
    request_span::record_workspace_of(&subject);
    if let Some(audit) = extensions.get::<Arc<AuditContext>>() {
        audit.set_subject(&subject);
    }
    drop(subject);
    let actor = actor(metadata.as_ref()).map_err(ServiceError::InvalidActor)?;
    Ok((CallContext { actor, ..call }, message))
}

/// Returns the message of an authenticated request for verdicts, and the context of the call. Verdicts are not
/// recorded, so that it does not matter on whose behalf the caller asks.
///
/// # Errors
/// [`ServiceError::MissingCredential`] as [`authenticated`].
pub(crate) fn authenticated_verifier<T>(request: Request<T>) -> Result<(CallContext, T), ServiceError> {
    let (_, extensions, message) = request.into_parts();
    Ok((context(&extensions)?, message))
}

/// Returns the actor that the caller asserts. Two are refused, because it is not clear which one is meant.
pub(crate) fn actor(headers: &HeaderMap) -> Result<Option<Actor>, MalformedActor> {
    let mut values = headers.get_all(ACTOR).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| MalformedActor)?.parse().map(Some),
        (Some(_), Some(_)) => Err(MalformedActor),
    }
}

/// Returns the address that the connection comes from.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<PeerAddress>().map(|PeerAddress(address)| address.ip())
}

fn context(extensions: &Extensions) -> Result<CallContext, ServiceError> {
    let Authenticated { caller, credential } = extensions.get().cloned().ok_or(ServiceError::MissingCredential)?;
    Ok(CallContext {
        caller,
        credential,
        actor: None,
        address: address(extensions),
        request_id: extensions.get().copied().unwrap_or_else(RequestId::current),
        deadline: extensions.get().cloned(),
        room: extensions.get().cloned().unwrap_or_default(),
    })
}
