//! A caller whose key was revoked, or who was deleted, does nothing more: neither by a call that it had begun before, nor by a change
//! that waited for the database meanwhile.

use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerKeyRequest, CreateCallerRequest, CreateOrganizationRequest,
    CreateWorkspaceRequest, Decision, DeleteCallerRequest, DeleteWorkspaceRequest, ErrorReason, GetTokenRequest,
    ListCallerKeysRequest, ListCallersRequest, ListTokensRequest, ListWorkspacesRequest, ResumeWorkspaceRequest,
    RevokeCallerKeyRequest, RevokeLeakedTokensRequest, RevokeTokenRequest, Role, RotateTokenRequest, Selection,
    SuspendWorkspaceRequest, TokenPolicy, UpdateTokenPolicyRequest, revoke_leaked_tokens_request::Leak,
};
use tokend_tests::{
    Installation, Issued, Refused, Server, eventually, held_writes, on_both_databases, on_postgres, question, refusal, token_in,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{peer::Peer, serve};

on_both_databases!(
    a_call_that_was_begun_before_its_key_was_revoked_does_nothing,
    a_call_that_was_begun_before_its_caller_was_deleted_does_nothing,
    a_change_that_waited_while_its_key_ended_is_not_made,
    no_change_is_made_after_the_revocation_of_its_key_was_answered,
    of_two_admins_who_revoke_each_other_one_does,
    a_key_that_revokes_itself_twice_does_so_once,
    a_key_is_revoked_while_it_makes_keys,
);

mod verdicts {
    use super::*;

    on_postgres!(a_verdict_that_waited_while_its_key_ended_is_not_given);

    /// The call is complete, and was let in. Its token is read only when the key has ended.
    async fn a_verdict_that_waited_while_its_key_ended_is_not_given(installation: Installation) {
        let world = World::new(&installation).await;
        let held = held_writes::hold_table(&installation, "tokens").await;
        let mallory = world.server.client(&world.mallory.secret).await;
        let question = question(&world.token.secret, &world.acme, &[]);
        let waiting = tokio::spawn(async move { mallory.token_verify().verify(question).await });
        eventually("it waits for the token", async || {
            let query = "SELECT relation::regclass::text FROM pg_locks WHERE NOT granted AND locktype = 'relation' \
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            (!installation.texts(query).await.is_empty()).then_some(())
        })
        .await;
        held.execute("DELETE FROM caller_keys WHERE caller = 'mallory'").await;
        waiting.await.expect("it is answered").refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
}

/// Calls may take their time: how fast the machine is, is not what these tests are about.
const PATIENT: &str =
    "verify_deadline_ms = 60000\nadmin_deadline_ms = 60000\nrevocation_deadline_ms = 60000\nbody_deadline_ms = 60000";

/// What there is to be changed or read.
struct World {
    server: Server,
    acme: String,
    token: Issued<tokend_client::v1::Token>,
    mallory: Issued<String>,
}

impl World {
    async fn new(installation: &Installation) -> Self {
        let server = serve(installation, PATIENT).await;
        let acme = server.workspace("acme").await;
        let token = server.token(token_in(&acme)).await;
        let mallory = server.caller("mallory", Role::Admin).await;
        Self { server, acme, token, mallory }
    }

    /// Everything that an ADMIN may ask for.
    fn calls(&self) -> Vec<(String, Vec<u8>)> {
        let (acme, name) = (self.acme.clone(), self.token.public.name.clone());
        let caller = CreateCallerRequest {
            caller_id: "eve".to_owned(),
            role: Role::Admin.into(),
            workspaces: Some(Selection { all: true, only: Vec::new() }),
            ..Default::default()
        };
        let workspace =
            CreateWorkspaceRequest { workspace_id: "evil".to_owned(), display_name: "E".to_owned(), ..Default::default() };
        let organization = CreateOrganizationRequest { organization_id: "evil".to_owned(), display_name: "E".to_owned() };
        let leak = Leak { secret: self.token.secret.clone(), ..Default::default() };
        let policy = TokenPolicy { name: format!("{acme}/tokenPolicy"), max_active_tokens: Some(7), ..Default::default() };
        let verify = question(&self.token.secret, &acme, &[]);
        let mut calls: Vec<(&str, Vec<u8>)> = vec![
            ("TokenVerify/Verify", verify.encode_to_vec()),
            ("TokenVerify/BatchVerify", BatchVerifyRequest { requests: vec![verify] }.encode_to_vec()),
            ("CallerAdmin/CreateCaller", caller.encode_to_vec()),
            (
                "CallerAdmin/CreateCallerKey",
                CreateCallerKeyRequest { parent: "callers/admin".to_owned(), ttl: None }.encode_to_vec(),
            ),
            ("CallerAdmin/DeleteCaller", DeleteCallerRequest { name: "callers/admin".to_owned(), no_wait: false }.encode_to_vec()),
            ("TokenAdmin/CreateToken", token_in(&acme).encode_to_vec()),
            ("TokenAdmin/RotateToken", RotateTokenRequest { name: name.clone(), ..Default::default() }.encode_to_vec()),
            ("TokenAdmin/RevokeToken", RevokeTokenRequest { name: name.clone(), ..Default::default() }.encode_to_vec()),
            (
                "TokenAdmin/BatchRevokeTokens",
                BatchRevokeTokensRequest { parent: acme.clone(), names: vec![name.clone()], ..Default::default() }.encode_to_vec(),
            ),
            ("TokenAdmin/RevokeLeakedTokens", RevokeLeakedTokensRequest { leaks: vec![leak], no_wait: false }.encode_to_vec()),
            ("TokenAdmin/GetToken", GetTokenRequest { name }.encode_to_vec()),
            ("WorkspaceAdmin/CreateWorkspace", workspace.encode_to_vec()),
            ("WorkspaceAdmin/CreateOrganization", organization.encode_to_vec()),
            ("WorkspaceAdmin/SuspendWorkspace", SuspendWorkspaceRequest { name: acme.clone(), no_wait: false }.encode_to_vec()),
            ("WorkspaceAdmin/ResumeWorkspace", ResumeWorkspaceRequest { name: acme.clone() }.encode_to_vec()),
            ("WorkspaceAdmin/DeleteWorkspace", DeleteWorkspaceRequest { name: acme, no_wait: false }.encode_to_vec()),
            (
                "WorkspaceAdmin/UpdateTokenPolicy",
                UpdateTokenPolicyRequest { policy: Some(policy), ..Default::default() }.encode_to_vec(),
            ),
        ];
        let key = RevokeCallerKeyRequest { name: self.mallory.public.clone(), no_wait: false };
        calls.push(("CallerAdmin/RevokeCallerKey", key.encode_to_vec()));
        calls.into_iter().map(|(path, message)| (format!("/tokend.v1.{path}"), message)).collect()
    }

    /// What can be seen of everything that those calls could change.
    async fn seen(&self) -> String {
        let admin = self.server.admin();
        let callers = admin.caller_admin().list_callers(ListCallersRequest::default()).await.expect("a list").into_inner();
        let request = ListCallerKeysRequest { parent: "callers/admin".to_owned(), ..Default::default() };
        let keys = admin.caller_admin().list_caller_keys(request).await.expect("a list").into_inner().keys.len();
        let workspaces = admin.workspace_admin().list_workspaces(ListWorkspacesRequest::default()).await.expect("a list");
        let request = ListTokensRequest { parent: self.acme.clone(), ..Default::default() };
        let tokens = admin.token_admin().list_tokens(request).await.expect("a list").into_inner();
        let policy = self.server.get_policy(&self.acme).await;
        let callers: Vec<_> = callers.callers.into_iter().filter(|caller| caller.name != "callers/mallory").collect();
        format!("{callers:?} {keys} {:?} {tokens:?} {policy:?}", workspaces.into_inner())
    }

    async fn revoke_mallory(&self) {
        let request = RevokeCallerKeyRequest { name: self.mallory.public.clone(), no_wait: false };
        self.server.admin().caller_admin().revoke_caller_key(request).await.expect("it is revoked");
    }
}

/// Begins every call, has `end` end the caller, and sends the messages only then.
async fn nothing_is_done_after(installation: &Installation, end: impl AsyncFnOnce(&World)) {
    let world = World::new(installation).await;
    let before = world.seen().await;
    let mut peer = Peer::connect(world.server.grpc_address()).await;
    let mut begun = Vec::new();
    for (path, message) in world.calls() {
        begun.push((path.clone(), peer.begin(&path, &world.mallory.secret, &[]).await, message));
    }
    // What is answered behind them on their connection shows that they have arrived and were let in.
    peer.begin("/tokend.v1.CallerAdmin/ListCallers", &world.mallory.secret, &[]).await.finish().await.expect("it is served");
    end(&world).await;
    for (path, call, message) in begun {
        let status = call.send(&message).await.expect_err(&path);
        refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
    assert_eq!(world.seen().await, before);
}

async fn a_call_that_was_begun_before_its_key_was_revoked_does_nothing(installation: Installation) {
    nothing_is_done_after(&installation, async |world| world.revoke_mallory().await).await;
}

async fn a_call_that_was_begun_before_its_caller_was_deleted_does_nothing(installation: Installation) {
    let delete = async |world: &World| {
        let request = DeleteCallerRequest { name: "callers/mallory".to_owned(), no_wait: false };
        world.server.admin().caller_admin().delete_caller(request).await.expect("it is deleted");
    };
    nothing_is_done_after(&installation, delete).await;
}

/// The calls are complete, and were let in. Their transactions begin only when the key has ended.
async fn a_change_that_waited_while_its_key_ended_is_not_made(installation: Installation) {
    let world = World::new(&installation).await;
    let before = world.seen().await;
    let held = held_writes::hold(&installation).await;
    let reads = ["Verify", "BatchVerify", "GetToken"];
    let mut waiting = JoinSet::new();
    let mut peer = Peer::connect(world.server.grpc_address()).await;
    for (path, message) in world.calls() {
        if reads.iter().any(|read| path.ends_with(&format!("/{read}"))) {
            continue;
        }
        let call = peer.begin(&path, &world.mallory.secret, &[]).await;
        waiting.spawn(async move { (path, call.send(&message).await) });
    }
    // By both ways into the database: what is answered behind them shows that they were let in.
    let mallory = world.server.client(&world.mallory.secret).await;
    mallory.caller_admin().list_callers(ListCallersRequest::default()).await.expect("it is served");
    let names = vec![world.token.public.name.clone()];
    let request = BatchRevokeTokensRequest { parent: world.acme.clone(), names, validate_only: true, ..Default::default() };
    mallory.token_admin().batch_revoke_tokens(request).await.expect("it is served");
    held.execute("DELETE FROM caller_keys WHERE caller = 'mallory'").await;
    while let Some(ended) = waiting.join_next().await {
        let (path, outcome) = ended.expect("it is answered");
        refusal(&outcome.expect_err(&path), Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
    assert_eq!(world.seen().await, before);
}

async fn no_change_is_made_after_the_revocation_of_its_key_was_answered(installation: Installation) {
    const ROUNDS: usize = 3;
    let server = serve(&installation, PATIENT).await;
    let acme = server.workspace("acme").await;
    let count = async || {
        let request = ListTokensRequest { parent: acme.clone(), page_size: 1, ..Default::default() };
        server.admin().token_admin().list_tokens(request).await.expect("a list").into_inner().total_size
    };
    for round in 0..ROUNDS {
        let mallory = server.caller(&format!("mallory-{round}"), Role::Admin).await;
        let mut making = JoinSet::new();
        for _ in 0..8 {
            let (client, request) = (server.client(&mallory.secret).await, token_in(&acme));
            making.spawn(async move {
                loop {
                    match client.token_admin().create_token(request.clone()).await {
                        Ok(_) => {}
                        // On a busy machine the database may be late.
                        Err(status) if status.code() == Code::Unavailable => {}
                        Err(status) => return status,
                    }
                }
            });
        }
        let before = count().await;
        eventually("tokens are made", async || (count().await > before + 20).then_some(())).await;
        eventually("it is revoked", async || revoke(&server, server.admin_key(), &mallory.public).await.ok()).await;
        let made = count().await;
        while let Some(ended) = making.join_next().await {
            refusal(&ended.expect("it ends"), Code::Unauthenticated, ErrorReason::InvalidCredential);
        }
        assert_eq!(count().await, made, "round {round}");
    }
}

async fn revoke(server: &Server, by: &str, key: &str) -> Result<(), Status> {
    let client = server.client(by).await;
    let request = RevokeCallerKeyRequest { name: key.to_owned(), no_wait: false };
    client.caller_admin().revoke_caller_key(request).await.map(drop)
}

/// One of two is done, and the other one refused because its caller has ended.
fn assert_one_of(outcomes: [Result<(), Status>; 2]) {
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let [status] = refused.as_slice() else { panic!("{refused:?}") };
    refusal(status, Code::Unauthenticated, ErrorReason::InvalidCredential);
}

async fn of_two_admins_who_revoke_each_other_one_does(installation: Installation) {
    let server = serve(&installation, PATIENT).await;
    for round in 0..10 {
        let one = server.caller(&format!("one-{round}"), Role::Admin).await;
        let other = server.caller(&format!("other-{round}"), Role::Admin).await;
        let (first, second) =
            tokio::join!(revoke(&server, &one.secret, &other.public), revoke(&server, &other.secret, &one.public));
        assert_one_of([first, second]);
    }
}

async fn a_key_that_revokes_itself_twice_does_so_once(installation: Installation) {
    let server = serve(&installation, PATIENT).await;
    for round in 0..10 {
        let one = server.caller(&format!("one-{round}"), Role::Admin).await;
        let (first, second) = tokio::join!(revoke(&server, &one.secret, &one.public), revoke(&server, &one.secret, &one.public));
        assert_one_of([first, second]);
    }
}

/// Making a key locks its caller, and revoking one locks every ADMIN: neither waits for the other in a circle.
async fn a_key_is_revoked_while_it_makes_keys(installation: Installation) {
    let server = serve(&installation, PATIENT).await;
    for round in 0..10 {
        let mallory = server.caller(&format!("mallory-{round}"), Role::Admin).await;
        let client = server.client(&mallory.secret).await;
        let request = CreateCallerKeyRequest { parent: format!("callers/mallory-{round}"), ttl: None };
        let make = async { client.caller_admin().create_caller_key(request).await };
        let (made, revoked) = tokio::join!(make, revoke(&server, server.admin_key(), &mallory.public));
        revoked.expect("it is revoked");
        if let Err(status) = made {
            refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
        }
        let verdict = server.admin().caller_admin().list_callers(ListCallersRequest::default()).await;
        verdict.expect("the service is as it was");
    }
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.decision(), Decision::Allow);
}
