//! The verdict: whether a token permits a request.
//!
//! The verdict is a pure function of the token, its context and the question. If several reasons to deny apply, the
//! first variant of [`Denial`] wins.

use std::{borrow::Borrow, net::IpAddr};

use crate::{
    credential::Recognized,
    resource::Resource,
    scope::{ScopeCatalog, ScopeSet},
    time::Timestamp,
    token::{Token, TokenContext},
    workspace::WorkspaceState,
};

/// What a service asks before it serves a request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The resource that the request accesses.
    pub resource: &'a Resource,
    /// The scopes that the request needs, all of them. May be empty.
    pub required_scopes: ScopeSet,
    /// The address of the client, if known.
    pub client_address: Option<IpAddr>,
    /// The database time at which to decide.
    pub now: Timestamp,
}

/// The answer to a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token permits the request.
    Allow,
    /// The token does not permit the request.
    Deny(Denial),
}

/// Why a request is denied. The variants are in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The token is malformed, forged, unknown, has a wrong secret, or belongs to a workspace that the caller has no
    /// access to. The caller learns no more than that.
    Unrecognized,
    /// The token was revoked.
    Revoked,
    /// The token has expired.
    Expired,
    /// The token's workspace is suspended.
    WorkspaceSuspended,
    /// The token's workspace was deleted.
    WorkspaceDeleted,
    /// The requested resource is neither the token's resource nor below it.
    ResourceNotCovered,
    /// The token lacks required scopes.
    InsufficientScope {
        /// The required scopes that it lacks.
        missing: ScopeSet,
    },
    /// The token may not be used from this address, or the address is unknown and the token is limited to networks.
    AddressNotAllowed,
}

/// Decides whether `token` permits what `question` asks.
///
/// `token_context` must be the token's own: with the context of another workspace everything is denied.
#[must_use]
pub fn decide(
    token: &Recognized<impl Borrow<Token>>,
    token_context: &TokenContext,
    catalog: &ScopeCatalog,
    question: &Question<'_>,
) -> Verdict {
    match denial((**token).borrow(), token_context, catalog, question) {
        None => Verdict::Allow,
        Some(denial) => Verdict::Deny(denial),
    }
}

fn denial(
    token: &Token,
    token_context: &TokenContext,
    catalog: &ScopeCatalog,
    question: &Question<'_>,
) -> Option<Denial> {
    if token_context.workspace != token.name.workspace {
        return Some(Denial::Unrecognized);
    }
    if token.revocation.is_some() {
        return Some(Denial::Revoked);
    }
    if token.expiry(token_context).has_passed(question.now) {
        return Some(Denial::Expired);
    }
    match token_context.state {
        WorkspaceState::Active => {}
        WorkspaceState::Suspended { .. } => return Some(Denial::WorkspaceSuspended),
        WorkspaceState::Deleted { .. } => return Some(Denial::WorkspaceDeleted),
    }
    // Tokens are created for resources in their workspace. This check keeps the boundary even if that failed.
    if !token.resource.covers(question.resource) || !question.resource.is_in(&token_context.workspace) {
        return Some(Denial::ResourceNotCovered);
    }
    let missing = question.required_scopes.difference(token.scopes.compile(catalog));
    if !missing.is_empty() {
        return Some(Denial::InsufficientScope { missing });
    }
    (!token.allowed_addresses.allow(question.client_address)).then_some(Denial::AddressNotAllowed)
}
