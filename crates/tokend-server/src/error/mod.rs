//! Why calls fail. [`ServiceError`] knows no transport: `table` describes each error, and `grpc` renders the
//! description as a status.

pub(crate) mod grpc;

mod table;

use std::{num::NonZeroU32, time::Duration};

use tokend_core::{
    audit::MalformedActor,
    caller::CertificateSan,
    credential::Kid,
    name::{CallerId, CallerKeyName, OrganizationId, TokenName, WorkspaceId},
    policy::PolicyName,
    text::quoted,
};
use tokend_proto::field::FieldViolations;
use tokend_store::StoreError;

use crate::observability::request_id::RequestId;

/// Why a call fails. The client gets the text, which says what is wrong and what to do, but for internal errors: the
/// table withholds theirs.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Fields of the request are invalid.
    #[error(transparent)]
    InvalidFields(#[from] FieldViolations),
    /// The call carries no credential.
    #[error("no caller key: send it in the metadata as `authorization: Bearer tkdc_...`")]
    MissingCredential,
    /// The actor that the caller asserts can't be recorded.
    #[error("the metadata x-tokend-actor {0}")]
    InvalidActor(MalformedActor),
    /// The credential is not a valid caller key.
    #[error("the credential is not a valid caller key: it is revoked, expired, or not a caller key at all")]
    InvalidCredential,
    /// The credential is not a valid caller key, and the same source has presented too many others.
    #[error(
        "{}; this address has presented too many invalid credentials: wait",
        Self::InvalidCredential
    )]
    TooManyFailedAuthentications {
        /// How long to wait.
        wait: Duration,
    },
    /// The connection has too many calls in flight.
    #[error("too many calls are in flight on this connection; wait for some of them, or open another connection")]
    TooManyInFlight,
    /// The server has too many calls in flight.
    #[error("the service is overloaded; retry")]
    Overloaded,
    /// The call took longer than the server or the client allows.
    #[error("the call took too long; a change that it began may still be made")]
    DeadlineExceeded,
    /// The message did not arrive in time.
    #[error("the message did not arrive within {} ms; nothing was changed: retry", .within.as_millis())]
    MessageTooLate {
        /// How long it may take.
        within: Duration,
    },
    /// The message is larger than the operation allows.
    #[error("the message is too large: it has {length} bytes, and at most {most} are allowed")]
    MessageTooLarge {
        /// Its size in bytes as its prefix says, or the number of bytes that have arrived.
        length: usize,
        /// The most bytes that are allowed.
        most: usize,
    },
    /// The message is compressed.
    #[error("the message encoding {0} is not supported; send messages uncompressed (grpc-encoding: identity)")]
    EncodingNotServed(String),
    /// The client certificate is valid, but no caller has one of its names, and the call carries no key.
    #[error("the client certificate belongs to no caller: register its names with CreateCaller, or send a caller key")]
    CertificateOfNobody,
    /// The names in the client certificate belong to several callers.
    #[error("the client certificate belongs to several callers; use one whose names belong to one caller")]
    CertificateOfSeveral,
    /// The client certificate has expired during its connection.
    #[error("the client certificate has expired; connect again with a new one")]
    CertificateExpired,
    /// Key and certificate belong to different callers.
    #[error("the caller key and the client certificate belong to different callers; use credentials of one caller")]
    CredentialsDisagree,
    /// The caller's role does not allow the call.
    #[error("the role of {caller} does not allow {method}")]
    RoleNotAllowed {
        /// The caller's name.
        caller: String,
        /// The method, or the part of it that is not allowed.
        method: String,
    },
    /// There is no such method.
    #[error("there is no method {}", quoted(.0))]
    UnknownMethod(String),
    /// There is no such service whose health can be checked.
    #[error("{} is not a service whose health can be checked", quoted(.0))]
    NotServed(String),
    /// There is no such workspace, or the caller may not see it.
    #[error("there is no workspace {}", .0.name())]
    WorkspaceNotFound(WorkspaceId),
    /// There is no such token, or the caller may not see it.
    #[error("there is no token {0}")]
    TokenNotFound(TokenName),
    /// A revoked token can't be rotated.
    #[error("{0} is revoked and can't be rotated; create a new token")]
    TokenRevoked(TokenName),
    /// The token already has a successor, and a token has only one.
    #[error("{name} has been rotated already; its successor is {successor}: rotate that one")]
    TokenAlreadyRotated {
        /// The token.
        name: TokenName,
        /// The token that replaced it last.
        successor: TokenName,
    },
    /// The token already has a successor, which was revoked.
    #[error("{name} has been rotated already, and its successor {successor} was revoked; create a new token")]
    SuccessorRevoked {
        /// The token.
        name: TokenName,
        /// The token that replaced it last.
        successor: TokenName,
    },
    /// The secret belongs to no token, or to one that the caller may not see.
    #[error("the secret belongs to no token of this installation")]
    SecretUnknown,
    /// The secret is a caller key.
    #[error("the secret is a caller key, not a workspace access token; revoke it with RevokeCallerKey")]
    SecretIsACallerKey,
    /// There is no such caller.
    #[error("there is no caller {}", .0.name())]
    CallerNotFound(CallerId),
    /// There is no such caller key.
    #[error("there is no caller key {0}")]
    CallerKeyNotFound(CallerKeyName),
    /// There is no such organization.
    #[error("there is no organization {}", .0.name())]
    OrganizationNotFound(OrganizationId),
    /// The workspace's id is in use, or was.
    #[error("{} exists already, or existed; the id of a workspace is never used again", .0.name())]
    WorkspaceAlreadyExists(WorkspaceId),
    /// The organization's id is in use.
    #[error("{} exists already", .0.name())]
    OrganizationAlreadyExists(OrganizationId),
    /// The caller's id is in use.
    #[error("{} exists already", .0.name())]
    CallerAlreadyExists(CallerId),
    /// Without this caller or its key, no ADMIN could authenticate.
    #[error("{} is the last ADMIN that can authenticate; create another ADMIN and a key for it first", .0.name())]
    LastAdmin(CallerId),
    /// The certificate name belongs to another caller.
    #[error(
        "the certificate name {} belongs to another caller; delete that caller first, or use another name",
        quoted(.0.as_str())
    )]
    CertificateSanTaken(CertificateSan),
    /// The workspace is suspended, and no token can be created in it.
    #[error("{} is suspended; resume it first", .0.name())]
    WorkspaceSuspended(WorkspaceId),
    /// The workspace was deleted.
    #[error("{} was deleted", .0.name())]
    WorkspaceDeleted(WorkspaceId),
    /// The token would break rules of policies.
    #[error("{} does not allow it: {}", .0[0].policy, .0[0].remedy)]
    PolicyViolated(Vec<PolicyViolation>),
    /// The workspace has as many active tokens as its policies allow.
    #[error(
        "{} has {most} active tokens, as many as {policy} allows; revoke one first, or rotate one instead",
        .workspace.name()
    )]
    TooManyActiveTokens {
        /// The workspace.
        workspace: WorkspaceId,
        /// The most active tokens that are allowed.
        most: NonZeroU32,
        /// The name of the policy that has the limit, or the names of both.
        policy: String,
    },
    /// The policy is no longer the one that the client has read.
    #[error("{0} has changed since it was read with this etag; read it again")]
    EtagMismatch(PolicyName),
    /// The request id was used before, with another request.
    #[error("request_id {} was used before with another request; choose a new one", quoted(.0))]
    RequestIdReused(String),
    /// A new random id is in use already.
    #[error("the new id {0} is in use already")]
    IdTaken(String),
    /// The caller has as many active keys as it may have.
    #[error("{} has two active keys already; revoke one first", .0.name())]
    TooManyCallerKeys(CallerId),
    /// Some events after this one are no longer kept, or this one does not exist yet.
    #[error("can't continue after event {after}: {} are kept", kept(.oldest, .last))]
    AuditPositionGone {
        /// The sequence number of the event after which to continue.
        after: u64,
        /// The sequence number of the oldest event that is kept.
        oldest: u64,
        /// The sequence number of the newest event.
        last: u64,
    },
    /// The database has not reached the revision that the client asks for.
    #[error("the database has not reached the revision that was asked for; retry")]
    RevisionNotReached,
    /// The call needs a key of the key ring that other servers have and this one does not yet have.
    #[error("this server does not have key {0} yet; retry")]
    KeyNotAtHand(Kid),
    /// The system's random source failed, so that nothing was created.
    #[error("the system's random source failed")]
    NoRandomness(#[source] rand::rngs::SysError),
    /// The store failed. The table says more to the client where it can.
    #[error("storage failed")]
    Storage(#[from] StoreError),
}

impl ServiceError {
    /// Returns the id that the log has an internal error under. The store logs its faults when they arise; any other
    /// error is logged here.
    fn logged_under(&self) -> String {
        if let Self::Storage(error) = self
            && let Some(fault) = error.fault()
        {
            return fault.to_string();
        }
        let request_id = RequestId::current();
        tracing::error!(%request_id, error = self as &dyn std::error::Error, "internal error");
        request_id.to_string()
    }
}

/// A rule of a policy that a token would break.
#[derive(Debug)]
pub struct PolicyViolation {
    /// The field of the policy that has the rule.
    pub rule: &'static str,
    /// The name of the policy that has the rule, or the names of both.
    pub policy: String,
    /// What is wrong and what to do.
    pub remedy: String,
}

/// Returns which events are kept.
fn kept(oldest: &u64, last: &u64) -> String {
    if oldest > last {
        "none".to_owned()
    } else {
        format!("those from {oldest} to {last}")
    }
}
