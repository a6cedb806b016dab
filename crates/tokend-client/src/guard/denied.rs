//! Why a request is not served.

use std::{fmt, time::Duration};

use tonic::Code;

use super::{RETRY_AFTER, token::Question};
use crate::{
    CallError,
    v1::{DenyReason, VerifyResponse},
};

/// Why a request must not be served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Denied {
    /// The routing says nothing about the request: [`Access::Unmapped`](super::Access::Unmapped).
    UnmappedRoute,
    /// The request has no `authorization` header.
    MissingToken,
    /// The `authorization` header is not exactly one bearer token (RFC 6750 section 2.1).
    MalformedAuthorization,
    /// The routing returned a text that is not the name of a resource, for example because it copied a part of the path
    /// without checking it.
    MalformedResource,
    /// The service decided that the token does not permit the request.
    ByVerdict {
        /// Why.
        reason: DenyReason,
        /// The token's resource name, which is not secret, if the secret is right.
        token: Option<String>,
        /// The scopes that the request needs.
        required_scopes: Vec<String>,
        /// Those of them that the token lacks, if that is the reason.
        missing_scopes: Vec<String>,
    },
    /// Nobody could decide: tokend could not be reached, or could not answer. The token may be valid.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// What went wrong, for the log. Not for the client.
        cause: String,
    },
    /// tokend rejects the question: this service's caller key is not valid, or the routing requires an unknown scope.
    Misconfigured(Box<CallError>),
}

/// The kind of a [`Denied`], for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeniedKind {
    /// [`Denied::UnmappedRoute`].
    UnmappedRoute,
    /// [`Denied::MissingToken`].
    MissingToken,
    /// [`Denied::MalformedAuthorization`].
    MalformedAuthorization,
    /// [`Denied::MalformedResource`].
    MalformedResource,
    /// The token is malformed, forged, unknown, or of a workspace that this service may not access.
    Unrecognized,
    /// The token was revoked.
    Revoked,
    /// The token has expired.
    Expired,
    /// The token's workspace is suspended.
    WorkspaceSuspended,
    /// The token's workspace was deleted.
    WorkspaceDeleted,
    /// The resource is neither the token's resource nor below it.
    ResourceNotCovered,
    /// The token lacks a required scope.
    InsufficientScope,
    /// The token may not be used from the client's address.
    AddressNotAllowed,
    /// The service denied the request for a reason that this client does not know.
    OtherVerdict,
    /// [`Denied::Unavailable`].
    Unavailable,
    /// [`Denied::Misconfigured`].
    Misconfigured,
}

impl DeniedKind {
    /// All kinds, in the order of the enum.
    pub const ALL: [Self; 15] = [
        Self::UnmappedRoute,
        Self::MissingToken,
        Self::MalformedAuthorization,
        Self::MalformedResource,
        Self::Unrecognized,
        Self::Revoked,
        Self::Expired,
        Self::WorkspaceSuspended,
        Self::WorkspaceDeleted,
        Self::ResourceNotCovered,
        Self::InsufficientScope,
        Self::AddressNotAllowed,
        Self::OtherVerdict,
        Self::Unavailable,
        Self::Misconfigured,
    ];

    /// Returns the name for metrics, such as `insufficient_scope`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnmappedRoute => "unmapped_route",
            Self::MissingToken => "missing_token",
            Self::MalformedAuthorization => "malformed_authorization",
            Self::MalformedResource => "malformed_resource",
            Self::Unrecognized => "unrecognized",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::WorkspaceSuspended => "workspace_suspended",
            Self::WorkspaceDeleted => "workspace_deleted",
            Self::ResourceNotCovered => "resource_not_covered",
            Self::InsufficientScope => "insufficient_scope",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::OtherVerdict => "other_verdict",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl Denied {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> DeniedKind {
        match self {
            Self::UnmappedRoute => DeniedKind::UnmappedRoute,
            Self::MissingToken => DeniedKind::MissingToken,
            Self::MalformedAuthorization => DeniedKind::MalformedAuthorization,
            Self::MalformedResource => DeniedKind::MalformedResource,
            Self::ByVerdict { reason, .. } => match reason {
                DenyReason::Unrecognized => DeniedKind::Unrecognized,
                DenyReason::Revoked => DeniedKind::Revoked,
                DenyReason::Expired => DeniedKind::Expired,
                DenyReason::WorkspaceSuspended => DeniedKind::WorkspaceSuspended,
                DenyReason::WorkspaceDeleted => DeniedKind::WorkspaceDeleted,
                DenyReason::ResourceNotCovered => DeniedKind::ResourceNotCovered,
                DenyReason::InsufficientScope => DeniedKind::InsufficientScope,
                DenyReason::AddressNotAllowed => DeniedKind::AddressNotAllowed,
                DenyReason::Unspecified => DeniedKind::OtherVerdict,
            },
            Self::Unavailable { .. } => DeniedKind::Unavailable,
            Self::Misconfigured(_) => DeniedKind::Misconfigured,
        }
    }

    /// Returns what the client of the guarded service may know.
    #[must_use]
    pub const fn public_message(&self) -> &'static str {
        match self.kind() {
            DeniedKind::UnmappedRoute => "this request is not permitted",
            DeniedKind::MissingToken => "a token is needed: send it as `authorization: Bearer ...`",
            DeniedKind::MalformedAuthorization => "the authorization header must be one bearer token",
            DeniedKind::MalformedResource => "this resource does not exist",
            DeniedKind::Unrecognized => "the token is not valid",
            DeniedKind::Revoked => "the token was revoked",
            DeniedKind::Expired => "the token has expired",
            DeniedKind::WorkspaceSuspended => "the token's workspace is suspended",
            DeniedKind::WorkspaceDeleted => "the token's workspace was deleted",
            DeniedKind::ResourceNotCovered => "the token is not for this resource",
            DeniedKind::InsufficientScope => "the token lacks a required scope",
            DeniedKind::AddressNotAllowed => "the token may not be used from this address",
            DeniedKind::OtherVerdict => "the token does not permit this request",
            DeniedKind::Unavailable => "the token can't be verified at the moment; try again later",
            DeniedKind::Misconfigured => "this service can't verify tokens",
        }
    }
}

/// Writes the reason for the log, with names and causes that are not for the client.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public_message())?;
        match self {
            Self::ByVerdict {
                token, missing_scopes, ..
            } => {
                if let Some(name) = token {
                    write!(f, " ({name})")?;
                }
                if !missing_scopes.is_empty() {
                    write!(f, ": {}", missing_scopes.join(" "))?;
                }
                Ok(())
            }
            Self::Unavailable { cause, .. } => write!(f, ": {cause}"),
            Self::Misconfigured(error) => write!(f, ": {error}"),
            Self::UnmappedRoute | Self::MissingToken | Self::MalformedAuthorization | Self::MalformedResource => Ok(()),
        }
    }
}

impl std::error::Error for Denied {}

/// Returns the denial of a question by the service.
pub(super) fn denied_by(reason: DenyReason, question: &Question, response: VerifyResponse) -> Denied {
    Denied::ByVerdict {
        reason,
        token: response.token.map(|token| token.name),
        required_scopes: question.scopes.clone(),
        missing_scopes: response.missing_scopes,
    }
}

/// Returns the denial of a question that the service rejected or could not answer. An outage is never a verdict.
pub(super) fn denied_by_error(error: CallError) -> Denied {
    match error.code {
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound
        | Code::FailedPrecondition => Denied::Misconfigured(Box::new(error)),
        _ => Denied::Unavailable {
            retry_after: error.retry_after.unwrap_or(RETRY_AFTER),
            cause: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kinds_is_in_the_order_of_the_enum() {
        for (index, kind) in DeniedKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{}", kind.as_str());
        }
    }
}
