//! Why a call is refused, free of transport. `status` turns it into what the client gets.

use std::{num::NonZeroU32, time::Duration};

use tokend_core::{
    audit::MalformedActor,
    certificate_san::CertificateSan,
    credential::Kid,
    name::{CallerId, CallerKeyName, OrganizationId, TokenName, WorkspaceId},
    policy::PolicyName,
    quote::quoted,
};
use tokend_proto::field::FieldViolations;
use tokend_store::StoreError;

/// Why a call is refused. The text goes to the client, so that it says what to do and nothing of our inside; faults of our own are
/// told apart from it when they become a status.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Fields that do not fit.
    #[error(transparent)]
    InvalidFields(#[from] FieldViolations),
    /// The call carries no credential.
    #[error("no caller key: send it in the metadata as `authorization: Bearer tkdc_...`")]
    MissingCredential,
    /// The metadata `x-tokend-actor` can't be put on record.
    #[error("the metadata x-tokend-actor {0}")]
    InvalidActor(MalformedActor),
    /// The credential is no caller key that works.
    #[error("the credential is not a caller key that works here; it may be revoked, expired, or not a caller key at all")]
    InvalidCredential,
    /// The credential is no caller key that works, and too many from the same place were not.
    #[error("{}; too many from this address were not: wait", Self::InvalidCredential)]
    TooManyFailedAuthentications {
        /// How long to wait.
        wait: Duration,
    },
    /// The connection has too many calls under way.
    #[error("too many calls are under way on this connection; wait for some of them, or open another")]
    TooManyInFlight,
    /// The whole service has too many calls under way.
    #[error("the service is full; retry")]
    Overloaded,
    /// The call took longer than the service or the client allows.
    #[error("the call took too long; what it began to change may still happen")]
    DeadlineExceeded,
    /// The message did not come in time.
    #[error("the message did not arrive within {} ms; nothing was changed: retry", .within.as_millis())]
    MessageTooLate {
        /// How long it may take.
        within: Duration,
    },
    /// The message is larger than the service takes.
    #[error("the message is too large: {length} bytes, and at most {most} are taken")]
    MessageTooLarge {
        /// As its prefix tells, or as many as have come.
        length: usize,
        /// As many as may be.
        most: usize,
    },
    /// The message is compressed.
    #[error("messages are not taken in the encoding {0}; send them uncompressed (grpc-encoding: identity)")]
    EncodingNotServed(String),
    /// The client certificate is good, but no caller has one of its names, and no key was sent either.
    #[error("the client certificate stands for no caller: CreateCaller registers its URI or DNS names; or send a caller key")]
    CertificateOfNobody,
    /// The names in the client certificate belong to several callers.
    #[error("the client certificate stands for several callers; use one whose names belong to one caller")]
    CertificateOfSeveral,
    /// The client certificate's time was over before its connection's.
    #[error("the client certificate has expired; connect again with a new one")]
    CertificateExpired,
    /// Key and certificate belong to different callers.
    #[error("the caller key and the client certificate belong to different callers; use credentials of one")]
    CredentialsDisagree,
    /// The caller's role does not allow the call.
    #[error("the role of {caller} does not allow {method}")]
    RoleNotAllowed {
        /// Who calls.
        caller: String,
        /// What.
        method: String,
    },
    /// There is no such method.
    #[error("there is no method {}", quoted(.0))]
    UnknownMethod(String),
    /// There is no health to tell of such a service.
    #[error("{} is not a service whose health is told here", quoted(.0))]
    NotServed(String),
    /// There is no such workspace that the caller may see.
    #[error("there is no workspace {}", .0.name())]
    WorkspaceNotFound(WorkspaceId),
    /// There is no such token that the caller may see.
    #[error("there is no token {0}")]
    TokenNotFound(TokenName),
    /// What was revoked gets no successor.
    #[error("{0} was revoked, and what is revoked is not rotated; make a new token")]
    TokenRevoked(TokenName),
    /// A token has one successor.
    #[error("{name} was rotated before; its successor is {successor}: rotate that one")]
    TokenAlreadyRotated {
        /// Which.
        name: TokenName,
        /// The token that replaces it.
        successor: TokenName,
    },
    /// A token has one successor, and that one is of no use any more.
    #[error("{name} was rotated before, and its successor {successor} was revoked; create a new token")]
    SuccessorRevoked {
        /// Which.
        name: TokenName,
        /// The last token that replaced it.
        successor: TokenName,
    },
    /// A secret belongs to no token that the caller may see.
    #[error("the secret is not that of a token of this installation")]
    SecretUnknown,
    /// A secret belongs to a caller, not to a workspace.
    #[error("the secret is a caller key, not a workspace access token; revoke it with RevokeCallerKey")]
    SecretIsACallerKey,
    /// There is no such caller.
    #[error("there is no caller {}", .0.name())]
    CallerNotFound(CallerId),
    /// There is no such key.
    #[error("there is no caller key {0}")]
    CallerKeyNotFound(CallerKeyName),
    /// There is no such organization.
    #[error("there is no organization {}", .0.name())]
    OrganizationNotFound(OrganizationId),
    /// The workspace's id is taken.
    #[error("{} is taken; ids are never used again, not even after the workspace is deleted", .0.name())]
    WorkspaceAlreadyExists(WorkspaceId),
    /// The organization's id is taken.
    #[error("{} exists already", .0.name())]
    OrganizationAlreadyExists(OrganizationId),
    /// The caller's id is taken.
    #[error("{} exists already", .0.name())]
    CallerAlreadyExists(CallerId),
    /// Without it no ADMIN could authenticate.
    #[error("{} is the last ADMIN that can authenticate; make another ADMIN and a key for it first", .0.name())]
    LastAdmin(CallerId),
    /// A name in a certificate stands for another caller.
    #[error("the certificate name {} belongs to another caller; delete that one first, or use another name", quoted(.0.as_str()))]
    CertificateSanTaken(CertificateSan),
    /// No token can be made in a suspended workspace.
    #[error("{} is suspended; resume it first", .0.name())]
    WorkspaceSuspended(WorkspaceId),
    /// No token can be made in a deleted workspace.
    #[error("{} was deleted", .0.name())]
    WorkspaceDeleted(WorkspaceId),
    /// Policies do not let such a token be made.
    #[error("{} does not allow it: {}", .0[0].policy, .0[0].remedy)]
    PolicyViolated(Vec<BrokenRule>),
    /// As many tokens of a workspace work as may.
    #[error("{} tokens of {} work already, as many as {policy} allows; revoke one first, or rotate one instead", .most, .workspace.name())]
    TooManyActiveTokens {
        /// Of which workspace.
        workspace: WorkspaceId,
        /// As many as these.
        most: NonZeroU32,
        /// The name of the policy that says so, or of both.
        policy: String,
    },
    /// What was to be changed is no longer what the client has seen.
    #[error("{0} was changed since the etag was told; read it again")]
    EtagMismatch(PolicyName),
    /// The request id was used with another body.
    #[error("request_id {} was used before with another request; choose a new one", quoted(.0))]
    RequestIdReused(String),
    /// A random id was drawn twice.
    #[error("the new id {0} is taken")]
    IdTaken(String),
    /// Too many keys of the caller work.
    #[error("two keys of {} work already; revoke one first", .0.name())]
    TooManyCallerKeys(CallerId),
    /// Not all that follows this event is kept, or the event has not happened.
    #[error("no event can be told after {after}: {} are kept", kept(.oldest, .last))]
    AuditPositionGone {
        /// The event after which to go on.
        after: u64,
        /// The oldest event that is kept.
        oldest: u64,
        /// The newest.
        last: u64,
    },
    /// The state asked for is not here yet.
    #[error("the database has not seen the revision asked for; retry")]
    RevisionNotReached,
    /// The call needs a key that other servers have and this one does not yet: nothing can be said of what it made.
    #[error("this server has not learned key {0} yet; retry")]
    KeyNotAtHand(Kid),
    /// The system's random source failed: nothing was made.
    #[error("the system's random source failed")]
    NoRandomness(#[source] rand::rngs::SysError),
    /// The store failed.
    #[error("storage failed")]
    Storage(#[from] StoreError),
}

/// A policy's rule that a token would break.
#[derive(Debug)]
pub struct BrokenRule {
    /// Its field.
    pub rule: &'static str,
    /// The name of the policy, or of both.
    pub policy: String,
    /// What is wrong and what to do.
    pub remedy: String,
}

/// Which events there are.
fn kept(oldest: &u64, last: &u64) -> String {
    if oldest > last { "none".to_owned() } else { format!("those from {oldest} to {last}") }
}
