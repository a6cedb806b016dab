use std::borrow::Cow;

use tokend_core::name::{CallerId, OrganizationId, WorkspaceId};
use tokend_proto::v1;

/// What a message is about: the name in it, as the client sent it.
pub(crate) trait Subject {
    /// The name; empty if it is about nothing that has one. Never a secret's field.
    fn subject(&self) -> Cow<'_, str>;
}

/// Messages and the field that names their subject.
macro_rules! subjects {
    ($($message:ident . $field:ident),+ $(,)?) => {
        $(impl Subject for v1::$message {
            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed(&self.$field)
            }
        })+
    };
}

/// Messages about nothing that has a name.
macro_rules! without_subject {
    ($($message:ident),+ $(,)?) => {
        $(impl Subject for v1::$message {
            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed("")
            }
        })+
    };
}

subjects! {
    CreateTokenRequest.parent,
    GetTokenRequest.name,
    ListTokensRequest.parent,
    RotateTokenRequest.name,
    RevokeTokenRequest.name,
    BatchRevokeTokensRequest.parent,
    GetWorkspaceRequest.name,
    SuspendWorkspaceRequest.name,
    ResumeWorkspaceRequest.name,
    DeleteWorkspaceRequest.name,
    GetOrganizationRequest.name,
    GetTokenPolicyRequest.name,
    GetCallerRequest.name,
    DeleteCallerRequest.name,
    CreateCallerKeyRequest.parent,
    RevokeCallerKeyRequest.name,
    ListCallerKeysRequest.parent,
    ListAuditEventsRequest.parent,
    WatchAuditEventsRequest.parent,
}

without_subject!(
    RevokeLeakedTokensRequest,
    IdentifyTokenRequest,
    ListScopesRequest,
    ListWorkspacesRequest,
    ListOrganizationsRequest,
    ListCallersRequest,
);

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
