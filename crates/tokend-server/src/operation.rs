//! The table of operations: every RPC that is served, and each fact that the server acts on.
//!
//! [`Operation::of`] finds the operation of a request's path once, in the outermost layer. It travels in the request's
//! extensions, and everything behind that layer reads it there. What has no row here is an unknown method: nobody may
//! call it.

use std::borrow::Cow;

use tokend_core::{
    caller::Role,
    name::{CallerId, OrganizationId, WorkspaceId},
};
use tokend_proto::v1;

use Access::{AnyCaller, Anyone, Roles};
use Role::{Admin, Auditor, Revoker, Verifier, WorkspaceAdmin};

/// What the server needs to know about an operation.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The path of its requests, `/package.Service/Method`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// The limits that its calls come under, and whether its answer is a stream.
    pub traffic: Traffic,
    /// Most bytes of a request's message. `None` where a request has several messages.
    pub request_bytes: Option<usize>,
    /// Most bytes of an answer's message. `None` if they are not limited.
    pub answer_bytes: Option<usize>,
    /// How many calls one call counts as where room is limited: a batch does several things at once.
    pub weight: usize,
    /// Whether calls that are refused are recorded in the audit log.
    pub audits_refusals: bool,
    /// Whether it is a call for verdicts, which may be answered from memory. Its caller is looked up there, too (V5).
    pub asks_for_verdicts: bool,
    /// Whether a call that succeeds changes what is stored, usage aside.
    pub changes: bool,
    /// Whether a call can make a verdict wrong that was right before: because a token ends, or because the caller that
    /// the verdict was given to may not ask any more. Such a call returns once no server gives that verdict any more.
    pub ends_verdicts: bool,
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a credential: orchestrators probe health before they have one.
    Anyone,
    /// Every caller that authenticates.
    AnyCaller,
    /// Callers of these roles.
    Roles(&'static [Role]),
}

/// The kinds of calls that limits tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Asks for verdicts.
    Verification,
    /// Ends or suspends a token, or something that its verdict depends on. Revocations have limits of their own, so
    /// that no other call stands in front of them.
    Revocation,
    /// Gets a stream of answers, which lasts until one side ends it.
    Stream,
    /// Gets a stream of health reports. Nobody has to authenticate for one, so it has limits of its own: strangers must
    /// not take the room of other streams.
    HealthWatch,
    /// Asks for health, which costs next to nothing. A server that has no room for other calls answers this one: it is
    /// full, and not ill.
    Probe,
    /// Everything else.
    Administration,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The weight of a batch.
const BATCH: usize = 4;

/// A call of the administrative services that reads. Nobody may make it until its row says who.
const READ: Facts = Facts {
    path: "",
    access: Roles(&[]),
    traffic: Traffic::Administration,
    request_bytes: Some(64 * KIB),
    answer_bytes: Some(MIB),
    weight: 1,
    audits_refusals: true,
    asks_for_verdicts: false,
    changes: false,
    ends_verdicts: false,
};

/// A call that changes something, and leaves every verdict as it is.
const CHANGE: Facts = Facts { changes: true, ..READ };

/// A change that can end verdicts as well.
const ENDING: Facts = Facts {
    ends_verdicts: true,
    ..CHANGE
};

/// A change whose purpose is to end verdicts.
const REVOCATION: Facts = Facts {
    traffic: Traffic::Revocation,
    ..ENDING
};

/// A revocation of many tokens.
const BULK_REVOCATION: Facts = Facts {
    request_bytes: Some(MIB),
    weight: BATCH,
    ..REVOCATION
};

/// A call for verdicts. They are too many to record each that is refused.
const VERDICT: Facts = Facts {
    traffic: Traffic::Verification,
    request_bytes: Some(16 * KIB),
    answer_bytes: None,
    audits_refusals: false,
    asks_for_verdicts: true,
    ..READ
};

/// A call for health.
const HEALTH: Facts = Facts {
    access: Anyone,
    traffic: Traffic::Probe,
    asks_for_verdicts: false,
    ..VERDICT
};

/// A call of server reflection, which limits each of a request's messages itself.
const REFLECTION: Facts = Facts {
    access: AnyCaller,
    traffic: Traffic::Stream,
    request_bytes: None,
    asks_for_verdicts: false,
    ..VERDICT
};

/// What a request of the administrative services is about.
pub(crate) trait Subject {
    /// Returns the resource name in the message, as the client sent it. It is empty if the request is about nothing
    /// that has a name. It never comes from a field for secrets.
    fn subject(&self) -> Cow<'_, str>;
}

/// Reads the field that names what a message is about.
macro_rules! subject {
    ($message:ident) => {
        ""
    };
    ($message:ident, $field:ident) => {
        &$message.$field
    };
}

/// Declares the operations, each with its path, its request's message and the field that names what the request is
/// about, and its facts.
macro_rules! operations {
    ($($operation:ident $path:literal $(=> $message:ident $(. $field:ident)?)?, $facts:expr;)+) => {
        $($(impl Subject for v1::$message {
            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed(subject!(self $(, $field)?))
            }
        })?)+

        /// An RPC that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = concat!("`", $path, "`.")] $operation,)+
        }

        impl Operation {
            /// Every operation, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$operation),+];

            /// Returns the operation that is served at `path`.
            #[must_use]
            pub fn of(path: &str) -> Option<Self> {
                match path {
                    $($path => Some(Self::$operation),)+
                    _ => None,
                }
            }

            /// Returns the operation's row.
            #[must_use]
            pub const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$operation => const { &Facts { path: $path, ..$facts } },)+
                }
            }
        }
    };
}

operations! {
    Verify "/tokend.v1.TokenVerify/Verify",
        Facts { access: Roles(&[Admin, Verifier]), ..VERDICT };
    BatchVerify "/tokend.v1.TokenVerify/BatchVerify",
        Facts { access: Roles(&[Admin, Verifier]), request_bytes: Some(2 * MIB), weight: BATCH, ..VERDICT };
    Watch "/tokend.v1.TokenVerify/Watch",
        Facts { access: Roles(&[Admin, Verifier]), traffic: Traffic::Stream, request_bytes: None, ..VERDICT };

    CreateToken "/tokend.v1.TokenAdmin/CreateToken" => CreateTokenRequest.parent,
        Facts { access: Roles(&[Admin, WorkspaceAdmin]), ..CHANGE };
    GetToken "/tokend.v1.TokenAdmin/GetToken" => GetTokenRequest.name,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Revoker, Auditor]), ..READ };
    ListTokens "/tokend.v1.TokenAdmin/ListTokens" => ListTokensRequest.parent,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Revoker, Auditor]), ..READ };
    RotateToken "/tokend.v1.TokenAdmin/RotateToken" => RotateTokenRequest.name,
        Facts { access: Roles(&[Admin, WorkspaceAdmin]), ..ENDING };
    RevokeToken "/tokend.v1.TokenAdmin/RevokeToken" => RevokeTokenRequest.name,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Revoker]), ..REVOCATION };
    // A REVOKER may name tokens, and may not use a filter.
    BatchRevokeTokens "/tokend.v1.TokenAdmin/BatchRevokeTokens" => BatchRevokeTokensRequest.parent,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Revoker]), ..BULK_REVOCATION };
    RevokeLeakedTokens "/tokend.v1.TokenAdmin/RevokeLeakedTokens" => RevokeLeakedTokensRequest,
        Facts { access: Roles(&[Admin, Revoker]), ..BULK_REVOCATION };
    IdentifyToken "/tokend.v1.TokenAdmin/IdentifyToken" => IdentifyTokenRequest,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Revoker]), ..READ };
    ListScopes "/tokend.v1.TokenAdmin/ListScopes" => ListScopesRequest,
        Facts { access: AnyCaller, ..READ };

    CreateWorkspace "/tokend.v1.WorkspaceAdmin/CreateWorkspace",
        Facts { access: Roles(&[Admin]), ..CHANGE };
    GetWorkspace "/tokend.v1.WorkspaceAdmin/GetWorkspace" => GetWorkspaceRequest.name,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Auditor]), ..READ };
    ListWorkspaces "/tokend.v1.WorkspaceAdmin/ListWorkspaces" => ListWorkspacesRequest,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Auditor]), ..READ };
    SuspendWorkspace "/tokend.v1.WorkspaceAdmin/SuspendWorkspace" => SuspendWorkspaceRequest.name,
        Facts { access: Roles(&[Admin]), ..REVOCATION };
    ResumeWorkspace "/tokend.v1.WorkspaceAdmin/ResumeWorkspace" => ResumeWorkspaceRequest.name,
        Facts { access: Roles(&[Admin]), ..CHANGE };
    DeleteWorkspace "/tokend.v1.WorkspaceAdmin/DeleteWorkspace" => DeleteWorkspaceRequest.name,
        Facts { access: Roles(&[Admin]), ..REVOCATION };
    CreateOrganization "/tokend.v1.WorkspaceAdmin/CreateOrganization",
        Facts { access: Roles(&[Admin]), ..CHANGE };
    GetOrganization "/tokend.v1.WorkspaceAdmin/GetOrganization" => GetOrganizationRequest.name,
        Facts { access: Roles(&[Admin, Auditor]), ..READ };
    ListOrganizations "/tokend.v1.WorkspaceAdmin/ListOrganizations" => ListOrganizationsRequest,
        Facts { access: Roles(&[Admin, Auditor]), ..READ };
    // A WORKSPACE_ADMIN may read and change the policies of its workspaces, not those of organizations.
    GetTokenPolicy "/tokend.v1.WorkspaceAdmin/GetTokenPolicy" => GetTokenPolicyRequest.name,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Auditor]), ..READ };
    UpdateTokenPolicy "/tokend.v1.WorkspaceAdmin/UpdateTokenPolicy",
        Facts { access: Roles(&[Admin, WorkspaceAdmin]), ..ENDING };

    CreateCaller "/tokend.v1.CallerAdmin/CreateCaller",
        Facts { access: Roles(&[Admin]), ..CHANGE };
    GetCaller "/tokend.v1.CallerAdmin/GetCaller" => GetCallerRequest.name,
        Facts { access: Roles(&[Admin, Auditor]), ..READ };
    ListCallers "/tokend.v1.CallerAdmin/ListCallers" => ListCallersRequest,
        Facts { access: Roles(&[Admin, Auditor]), ..READ };
    DeleteCaller "/tokend.v1.CallerAdmin/DeleteCaller" => DeleteCallerRequest.name,
        Facts { access: Roles(&[Admin]), ..REVOCATION };
    CreateCallerKey "/tokend.v1.CallerAdmin/CreateCallerKey" => CreateCallerKeyRequest.parent,
        Facts { access: Roles(&[Admin]), ..CHANGE };
    RevokeCallerKey "/tokend.v1.CallerAdmin/RevokeCallerKey" => RevokeCallerKeyRequest.name,
        Facts { access: Roles(&[Admin]), ..REVOCATION };
    ListCallerKeys "/tokend.v1.CallerAdmin/ListCallerKeys" => ListCallerKeysRequest.parent,
        Facts { access: Roles(&[Admin, Auditor]), ..READ };

    // A WORKSPACE_ADMIN sees the chains of its workspaces. A REVOKER sees the events of tokens in them.
    ListAuditEvents "/tokend.v1.AuditLog/ListAuditEvents" => ListAuditEventsRequest.parent,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Revoker, Auditor]), ..READ };
    WatchAuditEvents "/tokend.v1.AuditLog/WatchAuditEvents" => WatchAuditEventsRequest.parent,
        Facts { access: Roles(&[Admin, WorkspaceAdmin, Auditor]), traffic: Traffic::Stream, ..READ };

    CheckHealth "/grpc.health.v1.Health/Check", HEALTH;
    WatchHealth "/grpc.health.v1.Health/Watch",
        Facts { traffic: Traffic::HealthWatch, ..HEALTH };

    ReflectV1 "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", REFLECTION;
    ReflectV1Alpha "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", REFLECTION;
}

impl Subject for v1::CreateWorkspaceRequest {
    fn subject(&self) -> Cow<'_, str> {
        format!("{}/{}", WorkspaceId::COLLECTION, self.workspace_id).into()
    }
}

impl Subject for v1::CreateOrganizationRequest {
    fn subject(&self) -> Cow<'_, str> {
        format!("{}/{}", OrganizationId::COLLECTION, self.organization_id).into()
    }
}

impl Subject for v1::UpdateTokenPolicyRequest {
    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.policy.as_ref().map_or("", |policy| &policy.name))
    }
}

impl Subject for v1::CreateCallerRequest {
    fn subject(&self) -> Cow<'_, str> {
        format!("{}/{}", CallerId::COLLECTION, self.caller_id).into()
    }
}

/// The contract's package, as paths begin with it.
const CONTRACT: &str = "/tokend.v1.";

impl Operation {
    /// Returns its name, `package.Service/Method`.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.facts().path[1..]
    }

    /// Returns its name without the contract's package, `Service/Method`.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        self.facts().path.strip_prefix(CONTRACT).unwrap_or(self.name())
    }

    /// Returns the service that it belongs to, `package.Service`.
    #[must_use]
    pub fn service(self) -> &'static str {
        self.name().split_once('/').map_or("", |(service, _)| service)
    }

    /// Returns whether it is an operation of tokend's own contract.
    #[must_use]
    pub fn is_of_contract(self) -> bool {
        self.facts().path.starts_with(CONTRACT)
    }
}

impl Access {
    /// Returns whether an authenticated caller of `role` may call.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone | Self::AnyCaller => true,
            Self::Roles(roles) => roles.contains(&role),
        }
    }
}

impl Traffic {
    /// Returns whether the answer is a stream, which goes on after its head.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::HealthWatch)
    }
}

#[cfg(test)]
mod tests;
