//! Which role may call which RPC. The matrix has every RPC of the contract, every role, a workspace that the caller may
//! see and one that it may not, and a valid key, no key, a workspace token and a revoked key. Each call succeeds if the
//! caller may make it, so every cell has one right answer.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, BatchVerifyResponse, CreateCallerKeyRequest, CreateCallerRequest,
    CreateOrganizationRequest, CreateWorkspaceRequest, DeleteCallerRequest, DeleteWorkspaceRequest, DenyReason,
    ErrorReason, GetCallerRequest, GetOrganizationRequest, GetTokenPolicyRequest, GetTokenRequest, GetWorkspaceRequest,
    IdentifyTokenRequest, ListAuditEventsRequest, ListCallerKeysRequest, ListCallersRequest, ListOrganizationsRequest,
    ListScopesRequest, ListTokensRequest, ListWorkspacesRequest, Ping, ResumeWorkspaceRequest, RevokeCallerKeyRequest,
    RevokeLeakedTokensRequest, RevokeTokenRequest, Role, RotateTokenRequest, Selection, SuspendWorkspaceRequest,
    TokenPolicy, UpdateTokenPolicyRequest, VerifyResponse, WatchAuditEventsRequest, WatchRequest,
    revoke_leaked_tokens_request::Leak,
};
use tokend_tests::{
    Installation, Server, on_both_databases, question,
    raw::{self, bearer},
    refusal, token_in,
};
use tonic::{Code, Response, Status, transport::Channel};

on_both_databases!(every_cell_of_the_matrix);

use Role::{Admin, Auditor, Revoker, Verifier, WorkspaceAdmin};

const ROLES: [Role; 5] = [Admin, WorkspaceAdmin, Revoker, Auditor, Verifier];

/// Callers with the roles WORKSPACE_ADMIN and VERIFIER are limited to this workspace; other roles can't be limited.
const OWN: &str = "workspaces/acme";
const OTHER: &str = "workspaces/other";

/// Returns the roles that may call an RPC, as in the contract. An RPC without a row fails the test.
fn roles_of(path: &str) -> &'static [Role] {
    match parts(path) {
        ("TokenVerify", "Verify" | "BatchVerify" | "Watch") => &[Admin, Verifier],
        ("TokenAdmin", "CreateToken" | "RotateToken") => &[Admin, WorkspaceAdmin],
        ("TokenAdmin", "GetToken" | "ListTokens") => &[Admin, WorkspaceAdmin, Revoker, Auditor],
        ("TokenAdmin", "RevokeToken" | "BatchRevokeTokens" | "IdentifyToken") => &[Admin, WorkspaceAdmin, Revoker],
        ("TokenAdmin", "RevokeLeakedTokens") => &[Admin, Revoker],
        ("TokenAdmin", "ListScopes") => &ROLES,
        ("WorkspaceAdmin", "CreateWorkspace" | "SuspendWorkspace" | "ResumeWorkspace" | "DeleteWorkspace") => &[Admin],
        ("WorkspaceAdmin", "CreateOrganization") => &[Admin],
        ("WorkspaceAdmin", "GetOrganization" | "ListOrganizations") => &[Admin, Auditor],
        ("WorkspaceAdmin", "GetWorkspace" | "ListWorkspaces" | "GetTokenPolicy") => &[Admin, WorkspaceAdmin, Auditor],
        ("WorkspaceAdmin", "UpdateTokenPolicy") => &[Admin, WorkspaceAdmin],
        ("CallerAdmin", "CreateCaller" | "DeleteCaller" | "CreateCallerKey" | "RevokeCallerKey") => &[Admin],
        ("CallerAdmin", "GetCaller" | "ListCallers" | "ListCallerKeys") => &[Admin, Auditor],
        ("AuditLog", "ListAuditEvents") => &[Admin, WorkspaceAdmin, Revoker, Auditor],
        ("AuditLog", "WatchAuditEvents") => &[Admin, WorkspaceAdmin, Auditor],
        _ => panic!("who may call {path}?"),
    }
}

/// Returns whether a call is about one workspace, which the caller may not be allowed to see. An RPC without a row
/// fails the test.
fn names_a_workspace(path: &str) -> bool {
    match parts(path) {
        ("TokenAdmin", "ListScopes" | "RevokeLeakedTokens") | ("CallerAdmin", _) => false,
        ("WorkspaceAdmin", "CreateWorkspace" | "ListWorkspaces") => false,
        ("WorkspaceAdmin", "CreateOrganization" | "GetOrganization" | "ListOrganizations") => false,
        ("TokenVerify", "Watch") => false,
        ("TokenVerify" | "AuditLog", _) => true,
        (
            "TokenAdmin",
            "CreateToken" | "GetToken" | "ListTokens" | "RotateToken" | "RevokeToken" | "BatchRevokeTokens"
            | "IdentifyToken",
        ) => true,
        ("WorkspaceAdmin", "GetWorkspace" | "SuspendWorkspace" | "ResumeWorkspace" | "DeleteWorkspace") => true,
        ("WorkspaceAdmin", "GetTokenPolicy" | "UpdateTokenPolicy") => true,
        _ => panic!("does {path} name a workspace?"),
    }
}

fn parts(path: &str) -> (&str, &str) {
    path.strip_prefix("/tokend.v1.")
        .and_then(|path| path.split_once('/'))
        .expect("a path")
}

/// Creates what a call needs, anew for each call.
struct Subjects<'server> {
    server: &'server Server,
    created: u32,
}

impl Subjects<'_> {
    fn id(&mut self) -> String {
        self.created += 1;
        format!("new-{}", self.created)
    }

    /// Returns the message of a call that succeeds, about `workspace` or a resource in it.
    async fn message(&mut self, path: &str, workspace: &str) -> Bytes {
        let parent = workspace.to_owned();
        let message = match parts(path) {
            ("TokenVerify", "Verify") => question(&self.token(workspace).await.1, workspace, &[]).encode_to_vec(),
            ("TokenVerify", "BatchVerify") => {
                let requests = vec![question(&self.token(workspace).await.1, workspace, &[])];
                BatchVerifyRequest { requests }.encode_to_vec()
            }
            // Each request is one message: the stream ends after the pong.
            ("TokenVerify", "Watch") => WatchRequest {
                ping: Some(Ping {
                    number: 1,
                    ..Default::default()
                }),
                ..Default::default()
            }
            .encode_to_vec(),
            ("TokenAdmin", "CreateToken") => token_in(workspace).encode_to_vec(),
            ("TokenAdmin", "GetToken") => GetTokenRequest {
                name: self.token(workspace).await.0,
            }
            .encode_to_vec(),
            ("TokenAdmin", "ListTokens") => ListTokensRequest {
                parent,
                page_size: 1,
                ..Default::default()
            }
            .encode_to_vec(),
            ("TokenAdmin", "RotateToken") => RotateTokenRequest {
                name: self.token(workspace).await.0,
                ..Default::default()
            }
            .encode_to_vec(),
            ("TokenAdmin", "RevokeToken") => RevokeTokenRequest {
                name: self.token(workspace).await.0,
                ..Default::default()
            }
            .encode_to_vec(),
            ("TokenAdmin", "BatchRevokeTokens") => {
                let names = vec![self.token(workspace).await.0];
                BatchRevokeTokensRequest {
                    parent,
                    names,
                    ..Default::default()
                }
                .encode_to_vec()
            }
            ("TokenAdmin", "RevokeLeakedTokens") => {
                let leak = Leak {
                    secret: self.token(workspace).await.1,
                    ..Default::default()
                };
                RevokeLeakedTokensRequest {
                    leaks: vec![leak],
                    ..Default::default()
                }
                .encode_to_vec()
            }
            ("TokenAdmin", "IdentifyToken") => IdentifyTokenRequest {
                secret: self.token(workspace).await.1,
            }
            .encode_to_vec(),
            ("TokenAdmin", "ListScopes") => ListScopesRequest::default().encode_to_vec(),
            ("WorkspaceAdmin", "CreateWorkspace") => {
                let workspace_id = self.id();
                CreateWorkspaceRequest {
                    workspace_id,
                    display_name: "New".to_owned(),
                    ..Default::default()
                }
                .encode_to_vec()
            }
            ("WorkspaceAdmin", "GetWorkspace") => GetWorkspaceRequest { name: parent }.encode_to_vec(),
            ("WorkspaceAdmin", "GetTokenPolicy") => GetTokenPolicyRequest {
                name: format!("{parent}/tokenPolicy"),
            }
            .encode_to_vec(),
            ("WorkspaceAdmin", "UpdateTokenPolicy") => {
                let policy = TokenPolicy {
                    name: format!("{parent}/tokenPolicy"),
                    ..Default::default()
                };
                UpdateTokenPolicyRequest {
                    policy: Some(policy),
                    ..Default::default()
                }
                .encode_to_vec()
            }
            ("WorkspaceAdmin", "ListWorkspaces") => ListWorkspacesRequest {
                page_size: 1,
                ..Default::default()
            }
            .encode_to_vec(),
            ("WorkspaceAdmin", "ResumeWorkspace") => ResumeWorkspaceRequest { name: parent }.encode_to_vec(),
            // Only ADMIN may call these, in any workspace; a new one each time, as the matrix needs OWN and OTHER.
            ("WorkspaceAdmin", "SuspendWorkspace") => SuspendWorkspaceRequest {
                name: self.workspace().await,
                no_wait: true,
            }
            .encode_to_vec(),
            ("WorkspaceAdmin", "DeleteWorkspace") => DeleteWorkspaceRequest {
                name: self.workspace().await,
                no_wait: true,
            }
            .encode_to_vec(),
            ("WorkspaceAdmin", "CreateOrganization") => CreateOrganizationRequest {
                organization_id: self.id(),
                display_name: "New".to_owned(),
            }
            .encode_to_vec(),
            ("WorkspaceAdmin", "GetOrganization") => {
                let id = self.id();
                GetOrganizationRequest {
                    name: self.server.organization(&id).await,
                }
                .encode_to_vec()
            }
            ("WorkspaceAdmin", "ListOrganizations") => ListOrganizationsRequest {
                page_size: 1,
                ..Default::default()
            }
            .encode_to_vec(),
            ("CallerAdmin", "CreateCaller") => caller(self.id(), Auditor).encode_to_vec(),
            ("CallerAdmin", "GetCaller") => GetCallerRequest {
                name: self.caller().await.0,
            }
            .encode_to_vec(),
            ("CallerAdmin", "ListCallers") => ListCallersRequest {
                page_size: 1,
                ..Default::default()
            }
            .encode_to_vec(),
            ("CallerAdmin", "DeleteCaller") => DeleteCallerRequest {
                name: self.caller().await.0,
                no_wait: true,
            }
            .encode_to_vec(),
            ("CallerAdmin", "CreateCallerKey") => CreateCallerKeyRequest {
                parent: self.caller().await.0,
                ttl: None,
            }
            .encode_to_vec(),
            ("CallerAdmin", "RevokeCallerKey") => RevokeCallerKeyRequest {
                name: self.caller().await.1,
                no_wait: true,
            }
            .encode_to_vec(),
            ("CallerAdmin", "ListCallerKeys") => ListCallerKeysRequest {
                parent: self.caller().await.0,
                ..Default::default()
            }
            .encode_to_vec(),
            ("AuditLog", "ListAuditEvents") => ListAuditEventsRequest {
                parent,
                page_size: 1,
                ..Default::default()
            }
            .encode_to_vec(),
            ("AuditLog", "WatchAuditEvents") => WatchAuditEventsRequest {
                parent,
                ..Default::default()
            }
            .encode_to_vec(),
            _ => panic!("what does {path} take?"),
        };
        message.into()
    }

    /// Creates a token, and returns its name and secret.
    async fn token(&self, workspace: &str) -> (String, String) {
        let issued = self.server.token(token_in(workspace)).await;
        (issued.public.name, issued.secret)
    }

    async fn workspace(&mut self) -> String {
        let id = self.id();
        self.server.workspace(&id).await
    }

    /// Creates a caller, and returns its name and that of its key.
    async fn caller(&mut self) -> (String, String) {
        let id = self.id();
        (format!("callers/{id}"), self.server.caller(&id, Auditor).await.public)
    }
}

fn caller(id: String, role: Role) -> CreateCallerRequest {
    let limited = matches!(role, WorkspaceAdmin | Verifier);
    let workspaces = Selection {
        all: !limited,
        only: if limited { vec![OWN.to_owned()] } else { Vec::new() },
    };
    CreateCallerRequest {
        caller_id: id,
        role: role.into(),
        workspaces: Some(workspaces),
        ..Default::default()
    }
}

/// Asserts the answer to a caller with `role` and a valid key.
fn assert_answer(path: &str, role: Role, workspace: &str, answer: Result<Response<Bytes>, Status>) {
    let cell = format!("{path} by {role:?} about {workspace}");
    if !roles_of(path).contains(&role) {
        refusal(
            &answer.expect_err(&cell),
            Code::PermissionDenied,
            ErrorReason::RoleNotAllowed,
        );
        return;
    }
    let sees_all = !matches!(role, WorkspaceAdmin | Verifier);
    let is_visible = sees_all || workspace == OWN || !names_a_workspace(path);
    let reasons = match parts(path) {
        ("TokenVerify", "Verify") => vec![verdict(answer.expect(&cell))],
        ("TokenVerify", "BatchVerify") => {
            let answer = BatchVerifyResponse::decode(answer.expect(&cell).into_inner()).expect("verdicts");
            answer.responses.iter().map(VerifyResponse::deny_reason).collect()
        }
        _ if is_visible => {
            answer.expect(&cell);
            return;
        }
        _ => {
            assert_eq!(answer.expect_err(&cell).code(), Code::NotFound, "{cell}");
            return;
        }
    };
    let expected = if is_visible {
        DenyReason::Unspecified
    } else {
        DenyReason::Unrecognized
    };
    assert_eq!(reasons, [expected], "{cell}");
}

fn verdict(answer: Response<Bytes>) -> DenyReason {
    VerifyResponse::decode(answer.into_inner())
        .expect("a verdict")
        .deny_reason()
}

/// Asserts that the call is refused with each of these credentials, none of which is a valid key.
async fn assert_strangers(channel: &Channel, path: &str, message: &Bytes, credentials: &[Option<Vec<u8>>]) {
    for credential in credentials {
        let headers: Vec<_> = credential
            .iter()
            .map(|value| ("authorization", value.as_slice()))
            .collect();
        let status = raw::call(channel, path, &headers, std::slice::from_ref(message))
            .await
            .expect_err(path);
        let reason = if credential.is_some() {
            ErrorReason::InvalidCredential
        } else {
            ErrorReason::MissingCredential
        };
        refusal(&status, Code::Unauthenticated, reason);
    }
}

async fn every_cell_of_the_matrix(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for id in ["acme", "other"] {
        server.workspace(id).await;
    }
    // For each role: a valid key and a revoked key.
    let mut keys = Vec::new();
    let mut strangers = vec![None];
    for role in ROLES {
        let id = role.as_str_name().to_lowercase().replace('_', "-");
        keys.push((role, server.caller_as(caller(id.clone(), role)).await.secret));
        let revoked = server.caller_as(caller(format!("{id}-revoked"), role)).await;
        let request = RevokeCallerKeyRequest {
            name: revoked.public,
            no_wait: true,
        };
        server
            .admin()
            .caller_admin()
            .revoke_caller_key(request)
            .await
            .expect("RevokeCallerKey succeeds");
        strangers.push(Some(bearer(&revoked.secret)));
    }
    let mut subjects = Subjects {
        server: &server,
        created: 0,
    };
    for workspace in [OWN, OTHER] {
        strangers.push(Some(bearer(&subjects.token(workspace).await.1)));
    }
    for path in raw::contract_paths() {
        for workspace in [OWN, OTHER] {
            // The same call is refused to strangers and then served to the caller, so only the credential is wrong.
            for (role, key) in &keys {
                let message = subjects.message(&path, workspace).await;
                if *role == Admin {
                    assert_strangers(&channel, &path, &message, &strangers).await;
                }
                assert_answer(
                    &path,
                    *role,
                    workspace,
                    raw::call_as(&channel, key, &path, message).await,
                );
            }
        }
    }
}
