//! The verdict: may this token do this, here, now?
//!
//! A pure function of the token, its circumstances, and the question. Reasons to deny stand in a fixed order of precedence: the
//! variants of [`Denial`], first to last.

use std::net::IpAddr;

use crate::{
    credential::Recognized,
    resource::Resource,
    scope::{ScopeCatalog, ScopeSet},
    time::Timestamp,
    token::{Circumstances, Token},
    workspace::WorkspaceState,
};

/// What a service asks before it serves a request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the request is about.
    pub resource: &'a Resource,
    /// What it needs, all of it; may be empty.
    pub required_scopes: ScopeSet,
    /// Where it comes from, if known.
    pub client_address: Option<IpAddr>,
    /// When: database time.
    pub now: Timestamp,
}

/// May it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Deny(Denial),
}

/// Why it may not. Of several reasons the first in this order is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// Nothing that this caller may know of: malformed, forged, unknown, a wrong secret, or of a workspace foreign to the caller.
    Unrecognized,
    /// The token was revoked.
    Revoked,
    /// The token's time is over.
    Expired,
    /// Its workspace is suspended.
    WorkspaceSuspended,
    /// Its workspace was deleted.
    WorkspaceDeleted,
    /// The resource is not the one that the token is bound to, nor below it.
    ResourceNotCovered,
    /// It lacks scopes.
    InsufficientScope {
        /// Those that it lacks.
        missing: ScopeSet,
    },
    /// It may not be used from this address, or from an unknown one.
    AddressNotAllowed,
}

/// Decides about a token whose secret has matched.
///
/// The circumstances must be the token's own; under those of another workspace nothing is ever allowed.
#[must_use]
pub fn decide(
    token: &Recognized<Token>,
    circumstances: &Circumstances,
    catalog: &ScopeCatalog,
    question: &Question<'_>,
) -> Verdict {
    match denial(token, circumstances, catalog, question) {
        None => Verdict::Allow,
        Some(denial) => Verdict::Deny(denial),
    }
}

fn denial(token: &Token, circumstances: &Circumstances, catalog: &ScopeCatalog, question: &Question<'_>) -> Option<Denial> {
    if circumstances.workspace != token.name.workspace {
        return Some(Denial::Unrecognized);
    }
    if token.revocation.is_some() {
        return Some(Denial::Revoked);
    }
    if token.expiry(circumstances).has_passed(question.now) {
        return Some(Denial::Expired);
    }
    match circumstances.state {
        WorkspaceState::Active => {}
        WorkspaceState::Suspended { .. } => return Some(Denial::WorkspaceSuspended),
        WorkspaceState::Deleted { .. } => return Some(Denial::WorkspaceDeleted),
    }
    // A token is made for a resource in its workspace; that none reaches out of it does not rest on that alone.
    if !token.resource.covers(question.resource) || !question.resource.is_in(&circumstances.workspace) {
        return Some(Denial::ResourceNotCovered);
    }
    let missing = question.required_scopes.difference(token.scopes.compile(catalog));
    if !missing.is_empty() {
        return Some(Denial::InsufficientScope { missing });
    }
    (!token.allowed_addresses.allow(question.client_address)).then_some(Denial::AddressNotAllowed)
}
