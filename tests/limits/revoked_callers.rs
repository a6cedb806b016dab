//! After a key is revoked or its caller is deleted, no call with that key has an effect: neither a call that began
//! before, nor a change that waited for the database.

use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerKeyRequest, CreateCallerRequest,
    CreateOrganizationRequest, CreateWorkspaceRequest, DeleteCallerRequest, DeleteWorkspaceRequest, ErrorReason,
    GetTokenRequest, ListCallerKeysRequest, ListCallersRequest, ListTokensRequest, ListWorkspacesRequest,
    ResumeWorkspaceRequest, RevokeCallerKeyRequest, RevokeLeakedTokensRequest, RevokeTokenRequest, Role,
    RotateTokenRequest, Selection, SuspendWorkspaceRequest, TokenPolicy, UpdateTokenPolicyRequest,
    revoke_leaked_tokens_request::Leak,
};
use tokend_tests::{
    Installation, Issued, Refused, Server, eventually, held_writes, on_both_databases, on_postgres, question, refusal,
    token_in,
};
use tonic::Code;

use crate::{peer::Peer, serve};

on_both_databases!(
    a_call_begun_before_its_key_was_revoked_has_no_effect,
    a_call_begun_before_its_caller_was_deleted_has_no_effect,
);

mod verdicts {
    use super::*;

    on_postgres!(a_waiting_verification_is_rejected_after_its_key_is_revoked);

    /// The call is complete and authenticated. The server reads its token after the key is revoked.
    async fn a_waiting_verification_is_rejected_after_its_key_is_revoked(installation: Installation) {
        let world = World::new(&installation).await;
        let held = held_writes::hold_table(&installation, "tokens").await;
        let mallory = world.server.client(&world.mallory.secret).await;
        let question = question(&world.token.secret, &world.acme, &[]);
        let waiting = tokio::spawn(async move { mallory.token_verify().verify(question).await });
        eventually("the call waits for the token", async || {
            let query = "SELECT relation::regclass::text FROM pg_locks WHERE NOT granted AND locktype = 'relation' \
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            (!installation.texts(query).await.is_empty()).then_some(())
        })
        .await;
        held.execute("DELETE FROM caller_keys WHERE caller = 'mallory'").await;
        waiting
            .await
            .expect("the task does not panic")
            .refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
}

/// Long deadlines, so that the tests do not depend on the machine's speed.
pub(crate) const PATIENT: &str =
    "verify_deadline_ms = 60000\nadmin_deadline_ms = 60000\nrevocation_deadline_ms = 60000\nbody_deadline_ms = 60000";

/// A server with data that calls can read and change.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) acme: String,
    pub(crate) token: Issued<tokend_client::v1::Token>,
    pub(crate) mallory: Issued<String>,
}

impl World {
    pub(crate) async fn new(installation: &Installation) -> Self {
        let server = serve(installation, PATIENT).await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let mallory = server.caller("mallory", Role::Admin).await;
        Self {
            server,
            acme,
            token,
            mallory,
        }
    }

    /// Returns calls of every kind that an ADMIN may make.
    pub(crate) fn calls(&self) -> Vec<(String, Vec<u8>)> {
        let (acme, name) = (self.acme.clone(), self.token.public.name.clone());
        let caller = CreateCallerRequest {
            caller_id: "eve".to_owned(),
            role: Role::Admin.into(),
            workspaces: Some(Selection {
                all: true,
                only: Vec::new(),
            }),
            ..Default::default()
        };
        let workspace = CreateWorkspaceRequest {
            workspace_id: "evil".to_owned(),
            display_name: "E".to_owned(),
            ..Default::default()
        };
        let organization = CreateOrganizationRequest {
            organization_id: "evil".to_owned(),
            display_name: "E".to_owned(),
        };
        let leak = Leak {
            secret: self.token.secret.clone(),
            ..Default::default()
        };
        let policy = TokenPolicy {
            name: format!("{acme}/tokenPolicy"),
            max_active_tokens: Some(7),
            ..Default::default()
        };
        let verify = question(&self.token.secret, &acme, &[]);
        let mut calls: Vec<(&str, Vec<u8>)> = vec![
            ("TokenVerify/Verify", verify.encode_to_vec()),
            (
                "TokenVerify/BatchVerify",
                BatchVerifyRequest { requests: vec![verify] }.encode_to_vec(),
            ),
            ("CallerAdmin/CreateCaller", caller.encode_to_vec()),
            (
                "CallerAdmin/CreateCallerKey",
                CreateCallerKeyRequest {
                    parent: "callers/admin".to_owned(),
                    ttl: None,
                }
                .encode_to_vec(),
            ),
            (
                "CallerAdmin/DeleteCaller",
                DeleteCallerRequest {
                    name: "callers/admin".to_owned(),
                    no_wait: false,
                }
                .encode_to_vec(),
            ),
            ("TokenAdmin/CreateToken", token_in(&acme).encode_to_vec()),
            (
                "TokenAdmin/RotateToken",
                RotateTokenRequest {
                    name: name.clone(),
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            (
                "TokenAdmin/RevokeToken",
                RevokeTokenRequest {
                    name: name.clone(),
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            (
                "TokenAdmin/BatchRevokeTokens",
                BatchRevokeTokensRequest {
                    parent: acme.clone(),
                    names: vec![name.clone()],
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            (
                "TokenAdmin/RevokeLeakedTokens",
                RevokeLeakedTokensRequest {
                    leaks: vec![leak],
                    no_wait: false,
                }
                .encode_to_vec(),
            ),
            ("TokenAdmin/GetToken", GetTokenRequest { name }.encode_to_vec()),
            ("WorkspaceAdmin/CreateWorkspace", workspace.encode_to_vec()),
            ("WorkspaceAdmin/CreateOrganization", organization.encode_to_vec()),
            (
                "WorkspaceAdmin/SuspendWorkspace",
                SuspendWorkspaceRequest {
                    name: acme.clone(),
                    no_wait: false,
                }
                .encode_to_vec(),
            ),
            (
                "WorkspaceAdmin/ResumeWorkspace",
                ResumeWorkspaceRequest { name: acme.clone() }.encode_to_vec(),
            ),
            (
                "WorkspaceAdmin/DeleteWorkspace",
                DeleteWorkspaceRequest {
                    name: acme,
                    no_wait: false,
                }
                .encode_to_vec(),
            ),
            (
                "WorkspaceAdmin/UpdateTokenPolicy",
                UpdateTokenPolicyRequest {
                    policy: Some(policy),
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
        ];
        let key = RevokeCallerKeyRequest {
            name: self.mallory.public.clone(),
            no_wait: false,
        };
        calls.push(("CallerAdmin/RevokeCallerKey", key.encode_to_vec()));
        calls
            .into_iter()
            .map(|(path, message)| (format!("/tokend.v1.{path}"), message))
            .collect()
    }

    /// Returns everything that those calls could change, as text.
    pub(crate) async fn snapshot(&self) -> String {
        let admin = self.server.admin();
        let callers = admin
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await
            .expect("ListCallers succeeds")
            .into_inner();
        let request = ListCallerKeysRequest {
            parent: "callers/admin".to_owned(),
            ..Default::default()
        };
        let keys = admin
            .caller_admin()
            .list_caller_keys(request)
            .await
            .expect("ListCallerKeys succeeds")
            .into_inner()
            .keys
            .len();
        let workspaces = admin
            .workspace_admin()
            .list_workspaces(ListWorkspacesRequest::default())
            .await
            .expect("ListWorkspaces succeeds");
        let request = ListTokensRequest {
            parent: self.acme.clone(),
            ..Default::default()
        };
        let tokens = admin
            .token_admin()
            .list_tokens(request)
            .await
            .expect("ListTokens succeeds")
            .into_inner();
        let policy = self.server.get_policy(&self.acme).await;
        let callers: Vec<_> = callers
            .callers
            .into_iter()
            .filter(|caller| caller.name != "callers/mallory")
            .collect();
        format!("{callers:?} {keys} {:?} {tokens:?} {policy:?}", workspaces.into_inner())
    }

    pub(crate) async fn revoke_mallory(&self) {
        let request = RevokeCallerKeyRequest {
            name: self.mallory.public.clone(),
            no_wait: false,
        };
        self.server
            .admin()
            .caller_admin()
            .revoke_caller_key(request)
            .await
            .expect("RevokeCallerKey succeeds");
    }
}

/// Begins every call, runs `revoke` on the caller, and then sends the messages.
async fn assert_no_effect_after(installation: &Installation, revoke: impl AsyncFnOnce(&World)) {
    let world = World::new(installation).await;
    let before = world.snapshot().await;
    let mut peer = Peer::connect(world.server.grpc_address()).await;
    let mut begun = Vec::new();
    for (path, message) in world.calls() {
        begun.push((
            path.clone(),
            peer.begin(&path, &world.mallory.secret, &[]).await,
            message,
        ));
    }
    // The answer to a later call on the same connection shows that the calls have arrived and are authenticated.
    peer.begin("/tokend.v1.CallerAdmin/ListCallers", &world.mallory.secret, &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
    revoke(&world).await;
    for (path, call, message) in begun {
        let status = call.send(&message).await.expect_err(&path);
        refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
    assert_eq!(world.snapshot().await, before);
}

async fn a_call_begun_before_its_key_was_revoked_has_no_effect(installation: Installation) {
    assert_no_effect_after(&installation, async |world| world.revoke_mallory().await).await;
}

async fn a_call_begun_before_its_caller_was_deleted_has_no_effect(installation: Installation) {
    let delete = async |world: &World| {
        let request = DeleteCallerRequest {
            name: "callers/mallory".to_owned(),
            no_wait: false,
        };
        world
            .server
            .admin()
            .caller_admin()
            .delete_caller(request)
            .await
            .expect("DeleteCaller succeeds");
    };
    assert_no_effect_after(&installation, delete).await;
}
