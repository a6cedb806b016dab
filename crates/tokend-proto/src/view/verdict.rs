use std::{borrow::Borrow, sync::Arc, time::Duration};

use tokend_core::{
    feed::Revision,
    scope::{ScopeCatalog, ScopeSet},
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
    /// The token, if the presented secret is right and the caller may know about it.
    pub known: Option<KnownToken>,
}

/// A token whose secret was right, at the time of the verdict.
#[derive(Debug)]
pub struct KnownToken<T = Arc<Token>> {
    /// The token.
    pub token: T,
    /// The token's effective expiry.
    pub expiry: Expiry,
    /// The database time of the verdict.
    pub now: Timestamp,
    /// The revision that the verdict is based on.
    pub revision: Revision,
    /// How long the answer may be cached, not considering the token's expiry.
    pub cacheable_for: Duration,
}

impl Verification {
    /// Converts the verification. `catalog` must be the one that the verdict was made with.
    #[must_use]
    pub fn into_message(self, catalog: &ScopeCatalog) -> v1::VerifyResponse {
        let Self { verdict, known } = self;
        let revision = known.as_ref().map(|known| known.revision.into());
        let cacheable_for = known.as_ref().map(KnownToken::cacheable_for).unwrap_or_default();
        let (decision, deny_reason, missing) = match verdict {
            Verdict::Allow => (v1::Decision::Allow, v1::DenyReason::Unspecified, None),
            Verdict::Deny(denial) => (v1::Decision::Deny, deny_reason(denial), missing_scopes(denial)),
        };
        v1::VerifyResponse {
            decision: decision.into(),
            deny_reason: deny_reason.into(),
            token: known.as_ref().map(verified_token),
            missing_scopes: missing
                .into_iter()
                .flat_map(|set| catalog.names(set))
                .map(ToString::to_string)
                .collect(),
            cacheable_for: Some(span_message(cacheable_for)),
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

const fn missing_scopes(denial: Denial) -> Option<ScopeSet> {
    match denial {
        Denial::InsufficientScope { missing } => Some(missing),
        Denial::Unrecognized
        | Denial::Revoked
        | Denial::Expired
        | Denial::WorkspaceSuspended
        | Denial::WorkspaceDeleted
        | Denial::ResourceNotCovered
        | Denial::AddressNotAllowed => None,
    }
}

impl<T: Borrow<Token>> KnownToken<T> {
    /// Returns how long the answer may be cached: at most until the token expires.
    pub(super) fn cacheable_for(&self) -> Duration {
        let life = self.expiry.time().map(|at| at.saturating_since(self.now));
        life.map_or(self.cacheable_for, |life| life.min(self.cacheable_for))
    }
}

fn verified_token(
    KnownToken {
        token,
        expiry,
        now,
        revision: _,
        cacheable_for: _,
    }: &KnownToken,
) -> v1::VerifiedToken {
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
    } = &**token;
    v1::VerifiedToken {
        name: name.to_string(),
        workspace: name.workspace.name(),
        resource: resource.to_string(),
        display_name: display_name.as_str().to_owned(),
        scopes: scopes.effective().iter().map(ToString::to_string).collect(),
        expire_time: expiry.time().map(time_message),
        expires_in: expiry.time().map(|at| span_message(at.saturating_since(*now))),
        allowed_cidrs: allowed_addresses.networks().iter().map(ToString::to_string).collect(),
        labels: labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}
