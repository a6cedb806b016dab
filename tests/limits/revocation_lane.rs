//! Revocations are answered under any load of other calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokend_client::{
    Client,
    v1::{
        Decision, DeleteCallerRequest, DeleteWorkspaceRequest, DenyReason, RevokeCallerKeyRequest, RevokeTokenRequest,
        Role, SuspendWorkspaceRequest, VerifyRequest,
    },
};
use tokend_tests::{Installation, Server, eventually, on_both_databases, question, raw, token_in};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};

use crate::{peer::PATIENCE, serve_again};

on_both_databases!(
    revocations_are_answered_when_the_service_is_full,
    revocations_are_answered_when_the_database_is_overloaded
);

/// The flood's concurrent calls on each connection, and its number of connections.
const CALLS_AT_ONCE: usize = 60;
const CONNECTIONS: usize = 4;

/// The limit is far below the flood, so calls are refused before they reach the database.
async fn revocations_are_answered_when_the_service_is_full(installation: Installation) {
    revoke_under_a_flood(&installation, "max_in_flight = 32").await;
}

/// The limit is above the flood, but there are few database connections, so calls are refused for lack of one.
async fn revocations_are_answered_when_the_database_is_overloaded(installation: Installation) {
    revoke_under_a_flood(&installation, "database_connections = 2\npool_wait_ms = 1").await;
}

async fn revoke_under_a_flood(installation: &Installation, limits: &str) {
    // The data is created before the limits apply.
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(server.token(token_in(&acme)).await);
    }
    let workspace = server.workspace("doomed").await;
    let doomed = server.caller("doomed", Role::Auditor).await;
    let revoker = server.caller("revoker", Role::Revoker).await;
    let flooding = server.token(token_in(&acme)).await.secret;
    let admin_key = server.admin_key().to_owned();
    server.stop().await;

    let server = serve_again(
        installation,
        &admin_key,
        &format!("{limits}\nfailed_authentications = 1000000"),
    )
    .await;
    let revoker = server.client(&revoker.secret).await;
    let flood = Flood::start(&server, &acme, &flooding).await;
    eventually("calls of the flood are refused", async || {
        (flood.shed.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    for token in &tokens {
        let request = RevokeTokenRequest {
            name: token.public.name.clone(),
            ..Default::default()
        };
        answered("RevokeToken", revoker.token_admin().revoke_token(request)).await;
    }
    let request = RevokeCallerKeyRequest {
        name: doomed.public.clone(),
        no_wait: false,
    };
    answered(
        "RevokeCallerKey",
        server.admin().caller_admin().revoke_caller_key(request),
    )
    .await;
    let request = DeleteCallerRequest {
        name: "callers/doomed".to_owned(),
        no_wait: false,
    };
    answered("DeleteCaller", server.admin().caller_admin().delete_caller(request)).await;
    let request = SuspendWorkspaceRequest {
        name: workspace.clone(),
        no_wait: false,
    };
    answered(
        "SuspendWorkspace",
        server.admin().workspace_admin().suspend_workspace(request),
    )
    .await;
    let request = DeleteWorkspaceRequest {
        name: workspace,
        no_wait: false,
    };
    answered(
        "DeleteWorkspace",
        server.admin().workspace_admin().delete_workspace(request),
    )
    .await;
    let (shed, served) = flood.stop().await;
    assert!(shed > 100 && served > 0, "{shed} were shed and {served} served");

    for token in tokens {
        // Calls of the flood may still be queued.
        let question = question(&token.secret, &acme, &[]);
        let verdict = async || server.admin().token_verify().verify(question.clone()).await.ok();
        let verdict = eventually("Verify succeeds", verdict).await.into_inner();
        assert_eq!(
            (verdict.decision(), verdict.deny_reason()),
            (Decision::Deny, DenyReason::Revoked)
        );
    }
}

async fn answered<T>(what: &str, call: impl Future<Output = Result<T, Status>>) {
    let answer = timeout(PATIENCE, call)
        .await
        .unwrap_or_else(|_| panic!("{what} is not answered"));
    answer.unwrap_or_else(|status| panic!("{what} is refused: {status:?}"));
}

/// Callers that create tokens, verify invalid tokens and guess keys, each as fast as the answers arrive.
struct Flood {
    stop: Arc<AtomicBool>,
    shed: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    calls: JoinSet<()>,
}

impl Flood {
    async fn start(server: &Server, workspace: &str, token: &str) -> Self {
        let mut flood = Self {
            stop: Arc::default(),
            shed: Arc::default(),
            served: Arc::default(),
            calls: JoinSet::new(),
        };
        for _ in 0..CONNECTIONS {
            let client = server.client(server.admin_key()).await;
            let channel = raw::connect(server.grpc_address()).await;
            for number in 0..CALLS_AT_ONCE {
                let (client, channel, workspace, token) =
                    (client.clone(), channel.clone(), workspace.to_owned(), token.to_owned());
                let (stop, shed, served) = (
                    Arc::clone(&flood.stop),
                    Arc::clone(&flood.shed),
                    Arc::clone(&flood.served),
                );
                flood.calls.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let outcome = match number % 4 {
                            0 => create(&client, &workspace).await,
                            1 => verify(&client, &workspace, "tkdw_junk").await,
                            2 => verify(&client, &workspace, &token).await,
                            _ => raw::call_as(&channel, "guess", "/tokend.v1.TokenVerify/Verify", Bytes::new())
                                .await
                                .map(drop),
                        };
                        match outcome {
                            Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                            // The call is refused with a retry delay, or exceeds its deadline.
                            Err(status)
                                if matches!(
                                    status.code(),
                                    Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
                                ) =>
                            {
                                shed.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(_) => {}
                        }
                    }
                });
            }
        }
        flood
    }

    async fn stop(mut self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let stopped = timeout(Duration::from_secs(60), async {
            while self.calls.join_next().await.is_some() {}
        });
        stopped.await.expect("every call is answered");
        (self.shed.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed))
    }
}

async fn create(client: &Client, workspace: &str) -> Result<(), Status> {
    client.token_admin().create_token(token_in(workspace)).await.map(drop)
}

async fn verify(client: &Client, workspace: &str, token: &str) -> Result<(), Status> {
    client
        .token_verify()
        // What memory answers loads no database.
        .verify(VerifyRequest {
            fully_consistent: true,
            ..question(token, workspace, &[])
        })
        .await
        .map(drop)
}
