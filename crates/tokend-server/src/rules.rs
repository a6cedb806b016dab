//! Who may call what: every RPC has a row, and what has none is denied.

use tokend_core::caller::Role;

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anyone, without a credential: orchestrators probe health before there is one.
    Anyone,
    /// Every caller that authenticates.
    AnyCaller,
    /// Callers of these roles.
    Roles(&'static [Role]),
}

use Role::{Admin, Auditor, Revoker, Verifier, WorkspaceAdmin};

/// Every RPC that is served, with its rule.
pub const RULES: &[(&str, Rule)] = &[
    ("/tokend.v1.TokenVerify/Verify", Rule::Roles(&[Verifier, Admin])),
    ("/tokend.v1.TokenVerify/BatchVerify", Rule::Roles(&[Verifier, Admin])),
    ("/tokend.v1.TokenAdmin/CreateToken", Rule::Roles(&[Admin, WorkspaceAdmin])),
    ("/tokend.v1.TokenAdmin/GetToken", Rule::Roles(&[Admin, WorkspaceAdmin, Revoker, Auditor])),
    ("/tokend.v1.TokenAdmin/ListTokens", Rule::Roles(&[Admin, WorkspaceAdmin, Revoker, Auditor])),
    ("/tokend.v1.TokenAdmin/RotateToken", Rule::Roles(&[Admin, WorkspaceAdmin])),
    ("/tokend.v1.TokenAdmin/RevokeToken", Rule::Roles(&[Admin, WorkspaceAdmin, Revoker])),
    // Of a REVOKER: by names.
    ("/tokend.v1.TokenAdmin/BatchRevokeTokens", Rule::Roles(&[Admin, WorkspaceAdmin, Revoker])),
    ("/tokend.v1.TokenAdmin/RevokeLeakedTokens", Rule::Roles(&[Admin, Revoker])),
    ("/tokend.v1.TokenAdmin/IdentifyToken", Rule::Roles(&[Admin, WorkspaceAdmin, Revoker])),
    ("/tokend.v1.TokenAdmin/ListScopes", Rule::AnyCaller),
    ("/tokend.v1.WorkspaceAdmin/CreateWorkspace", Rule::Roles(&[Admin])),
    ("/tokend.v1.WorkspaceAdmin/GetWorkspace", Rule::Roles(&[Admin, WorkspaceAdmin, Auditor])),
    ("/tokend.v1.WorkspaceAdmin/ListWorkspaces", Rule::Roles(&[Admin, WorkspaceAdmin, Auditor])),
    ("/tokend.v1.WorkspaceAdmin/SuspendWorkspace", Rule::Roles(&[Admin])),
    ("/tokend.v1.WorkspaceAdmin/ResumeWorkspace", Rule::Roles(&[Admin])),
    ("/tokend.v1.WorkspaceAdmin/DeleteWorkspace", Rule::Roles(&[Admin])),
    ("/tokend.v1.WorkspaceAdmin/CreateOrganization", Rule::Roles(&[Admin])),
    ("/tokend.v1.WorkspaceAdmin/GetOrganization", Rule::Roles(&[Admin, Auditor])),
    ("/tokend.v1.WorkspaceAdmin/ListOrganizations", Rule::Roles(&[Admin, Auditor])),
    // Of a WORKSPACE_ADMIN: its workspaces' own.
    ("/tokend.v1.WorkspaceAdmin/GetTokenPolicy", Rule::Roles(&[Admin, WorkspaceAdmin, Auditor])),
    ("/tokend.v1.WorkspaceAdmin/UpdateTokenPolicy", Rule::Roles(&[Admin, WorkspaceAdmin])),
    ("/tokend.v1.CallerAdmin/CreateCaller", Rule::Roles(&[Admin])),
    ("/tokend.v1.CallerAdmin/GetCaller", Rule::Roles(&[Admin, Auditor])),
    ("/tokend.v1.CallerAdmin/ListCallers", Rule::Roles(&[Admin, Auditor])),
    ("/tokend.v1.CallerAdmin/DeleteCaller", Rule::Roles(&[Admin])),
    ("/tokend.v1.CallerAdmin/CreateCallerKey", Rule::Roles(&[Admin])),
    ("/tokend.v1.CallerAdmin/RevokeCallerKey", Rule::Roles(&[Admin])),
    ("/tokend.v1.CallerAdmin/ListCallerKeys", Rule::Roles(&[Admin, Auditor])),
    // Of a WORKSPACE_ADMIN: its workspaces' chains. Of a REVOKER: what became of tokens in them.
    ("/tokend.v1.AuditLog/ListAuditEvents", Rule::Roles(&[Admin, WorkspaceAdmin, Revoker, Auditor])),
    ("/tokend.v1.AuditLog/WatchAuditEvents", Rule::Roles(&[Admin, WorkspaceAdmin, Auditor])),
    ("/grpc.health.v1.Health/Check", Rule::Anyone),
    ("/grpc.health.v1.Health/Watch", Rule::Anyone),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Rule::AnyCaller),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Rule::AnyCaller),
];

/// The rule of the RPC at `path`; none means that nobody may call it.
#[must_use]
pub fn rule(path: &str) -> Option<Rule> {
    RULES.iter().find(|(known, _)| *known == path).map(|(_, rule)| *rule)
}

impl Rule {
    /// Whether an authenticated caller of `role` may call.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone | Self::AnyCaller => true,
            Self::Roles(roles) => roles.contains(&role),
        }
    }
}
