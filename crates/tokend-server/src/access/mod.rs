//! What an authenticated caller does and may see. Names in a workspace that is not its own are answered exactly as absent ones.

mod acting;
mod authenticated;
mod subject;

pub(crate) use acting::Acting;
pub(crate) use authenticated::{Authenticated, CallerCredential, Ended};

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName};
use tokend_core::{
    audit::{Actor, Chain, Event, EventType, MalformedActor, Origin, Outcome, RowAfter},
    caller::{Caller, Role},
    name::{OrganizationId, TokenName, WorkspaceId},
};
use tonic::Request;

use crate::{attempt::Attempt, refusal::Refusal, transport::PeerAddress};
use subject::Subject;

/// The metadata by which a caller asserts on whose behalf it acts.
const ACTOR: HeaderName = HeaderName::from_static("x-tokend-actor");

/// Who does something, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// The caller that authenticated.
    pub(crate) caller: Arc<Caller>,
    /// What it authenticated with.
    pub(crate) credential: CallerCredential,
    /// On whose behalf, as the caller asserts in `x-tokend-actor`.
    pub(crate) actor: Option<Actor>,
    /// Where the connection comes from.
    pub(crate) address: Option<IpAddr>,
}

impl Act {
    /// The caller, as it authenticated.
    pub(crate) fn authenticated(&self) -> Authenticated {
        Authenticated { caller: Arc::clone(&self.caller), credential: self.credential.clone() }
    }

    /// The event of a change, which only [`Acting`] makes.
    fn event(&self, chain: Chain, kind: EventType, resource: String, row: RowAfter) -> Event {
        let Self { caller, credential: _, actor, address } = self;
        let origin = Origin { caller: Some(caller.id.clone()), actor: actor.clone(), address: *address };
        Event { chain, kind, origin, resource, outcome: Outcome::Done, reason: String::new(), detail: String::new(), row }
    }
}

/// The message of a request that passed authentication, and who does what it asks for.
///
/// # Errors
/// [`Refusal::MissingCredential`] if nobody authenticated: a request that went around the layer is never served;
/// [`Refusal::InvalidActor`] for an assertion that can't be put on record.
pub(crate) fn admitted<T: Subject>(request: Request<T>) -> Result<(Act, T), Refusal> {
    let (metadata, mut extensions, message) = request.into_parts();
    let Authenticated { caller, credential } = extensions.remove().ok_or(Refusal::MissingCredential)?;
    Attempt::note_subject(&extensions, &message.subject());
    let actor = actor(metadata.as_ref()).map_err(Refusal::InvalidActor)?;
    Ok((Act { caller, credential, actor, address: address(&extensions) }, message))
}

/// The message of a request that asks for verdicts, and the caller that authenticated. Nothing is put on record.
///
/// # Errors
/// [`Refusal::MissingCredential`] if nobody authenticated.
pub(crate) fn verifying<T>(request: Request<T>) -> Result<(Authenticated, T), Refusal> {
    let (_, mut extensions, message) = request.into_parts();
    Ok((extensions.remove().ok_or(Refusal::MissingCredential)?, message))
}

/// The actor that the caller asserts, if it does. Of two, nobody can say which one is meant.
pub(crate) fn actor(headers: &HeaderMap) -> Result<Option<Actor>, MalformedActor> {
    let mut values = headers.get_all(ACTOR).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| MalformedActor)?.parse().map(Some),
        (Some(_), Some(_)) => Err(MalformedActor),
    }
}

/// Where the connection comes from.
pub(crate) fn address(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<PeerAddress>().map(|PeerAddress(address)| address.ip())
}

/// Refuses a workspace's name that the caller may not see. What is no name is left to validation: authorization comes first.
pub(crate) fn sees_workspace(caller: &Caller, name: &str) -> Result<(), Refusal> {
    match WorkspaceId::from_name(name) {
        Ok(workspace) if !caller.workspaces.includes(&workspace) => Err(Refusal::WorkspaceNotFound(workspace)),
        _ => Ok(()),
    }
}

/// Refuses a policy that the caller may not see: an organization's is not a WORKSPACE_ADMIN's. What is no name is left to validation.
pub(crate) fn sees_policy(caller: &Caller, name: &str) -> Result<(), Refusal> {
    match name.strip_suffix("/tokenPolicy") {
        Some(owner) if caller.role == Role::WorkspaceAdmin && OrganizationId::from_name(owner).is_ok() => {
            Err(Refusal::RoleNotAllowed { caller: caller.id.name(), method: "an organization's token policy".to_owned() })
        }
        Some(owner) => sees_workspace(caller, owner),
        None => Ok(()),
    }
}

/// Refuses a filter from who may only revoke what it knows by name.
pub(crate) fn revokes_by_filter(caller: &Caller, filter: &str) -> Result<(), Refusal> {
    if caller.role == Role::Revoker && !filter.is_empty() {
        let (caller, method) = (caller.id.name(), "TokenAdmin/BatchRevokeTokens with a filter".to_owned());
        return Err(Refusal::RoleNotAllowed { caller, method });
    }
    Ok(())
}

/// Refuses a token's name that the caller may not see, likewise.
pub(crate) fn sees_token(caller: &Caller, name: &str) -> Result<(), Refusal> {
    match name.parse::<TokenName>() {
        Ok(name) if !caller.workspaces.includes(&name.workspace) => Err(Refusal::TokenNotFound(name)),
        _ => Ok(()),
    }
}
