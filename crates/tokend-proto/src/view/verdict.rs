use std::time::Duration;

use tokend_core::{
    revision::Revision,
    scope::ScopeCatalog,
    time::Timestamp,
    token::{Expiry, Token},
    verdict::{Denial, Verdict},
};

use crate::{
    field::{span_message, time_message},
    v1,
};

/// A completed verification.
#[derive(Debug)]
pub struct Verification {
    /// The verdict.
    pub verdict: Verdict,
    /// What the caller may know besides, once the secret has matched.
    pub known: Option<KnownToken>,
}

/// A token whose secret has matched, and when it was looked at.
#[derive(Debug)]
pub struct KnownToken {
    /// The token.
    pub token: Token,
    /// When it ends by itself, everything that binds it considered.
    pub expiry: Expiry,
    /// The moment of the verdict: database time.
    pub now: Timestamp,
    /// The state that it was made from.
    pub revision: Revision,
}

impl Verification {
    /// The answer. `catalog` is the one that the verdict was made with.
    #[must_use]
    pub fn into_message(self, catalog: &ScopeCatalog) -> v1::VerifyResponse {
        let Self { verdict, known } = self;
        let revision = known.as_ref().map(|known| known.revision.into());
        let (decision, deny_reason, missing) = match verdict {
            Verdict::Allow => (v1::Decision::Allow, v1::DenyReason::Unspecified, None),
            Verdict::Deny(denial) => (v1::Decision::Deny, deny_reason(denial), missing_scopes(denial)),
        };
        v1::VerifyResponse {
            decision: decision.into(),
            deny_reason: deny_reason.into(),
            token: known.map(verified_token),
            missing_scopes: missing.into_iter().flat_map(|set| catalog.names(set)).map(ToString::to_string).collect(),
            // Nothing is cached yet: each verdict holds for the moment it was made.
            cacheable_for: Some(span_message(Duration::ZERO)),
            revision,
        }
    }
}

const fn deny_reason(denial: Denial) -> v1::DenyReason {
    match denial {
        Denial::Unrecognized => v1::DenyReason::Unrecognized,
        Denial::Revoked => v1::DenyReason::Revoked,
        Denial::Expired => v1::DenyReason::Expired,
        Denial::WorkspaceSuspended => v1::DenyReason::WorkspaceSuspended,
        Denial::WorkspaceDeleted => v1::DenyReason::WorkspaceDeleted,
        Denial::ResourceNotCovered => v1::DenyReason::ResourceNotCovered,
        Denial::InsufficientScope { .. } => v1::DenyReason::InsufficientScope,
        Denial::AddressNotAllowed => v1::DenyReason::AddressNotAllowed,
    }
}

const fn missing_scopes(denial: Denial) -> Option<tokend_core::scope::ScopeSet> {
    match denial {
        Denial::InsufficientScope { missing } => Some(missing),
        _ => None,
    }
}

fn verified_token(KnownToken { token, expiry, now, revision: _ }: KnownToken) -> v1::VerifiedToken {
    let Token {
        name,
        digest: _,
        resource,
        display_name,
        description: _,
        scopes,
        allowed_addresses,
        labels,
        create_time: _,
        creator: _,
        own_expiry: _,
        requested_expiry: _,
        revocation: _,
        rotated_from: _,
        rotated_to: _,
    } = token;
    v1::VerifiedToken {
        name: name.to_string(),
        workspace: name.workspace.name(),
        resource: resource.to_string(),
        display_name: display_name.into(),
        scopes: scopes.effective().iter().map(ToString::to_string).collect(),
        expire_time: expiry.time().map(time_message),
        expires_in: expiry.time().map(|at| span_message(at.saturating_since(now))),
        allowed_cidrs: allowed_addresses.networks().iter().map(ToString::to_string).collect(),
        labels: labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}
