//! One caller's load does not affect the others: only complete calls count, and each caller has a share of the limit.

use prost::Message;
use tokend_client::v1::{
    CreateCallerRequest, Decision, ErrorReason, RevokeCallerKeyRequest, RevokeTokenRequest, Role, Selection,
};
use tokend_tests::{
    Installation, Issued, Server, eventually, held_writes, on_both_databases, on_sqlite, question, refusal, token_in,
};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};

use crate::{
    PATIENT,
    peer::{PATIENCE, Peer},
    serve,
};

on_both_databases!(
    incomplete_revocations_do_not_block_revocations,
    incomplete_calls_do_not_block_verdicts,
    a_flood_with_a_revoked_key_does_not_block_revocations,
);

mod on_any_database {
    use super::*;

    on_sqlite!(
        calls_of_one_caller_are_limited_to_its_share,
        revocations_by_admins_have_a_reserved_share,
        unauthenticated_peers_cannot_use_all_health_watches,
        one_caller_cannot_use_all_connections,
    );
}

const REVOKE: &str = "/tokend.v1.TokenAdmin/RevokeToken";
const CREATE: &str = "/tokend.v1.TokenAdmin/CreateToken";
const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const LIST_SCOPES: &str = "/tokend.v1.TokenAdmin/ListScopes";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

async fn workspace_admin(server: &Server, id: &str) -> Issued<String> {
    let request = CreateCallerRequest {
        caller_id: id.to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec!["workspaces/acme".to_owned()],
        }),
        ..Default::default()
    };
    server.caller_as(request).await
}

/// Creates and revokes a token as the ADMIN, which succeeds under any load. Retries if the database of a busy machine
/// is late.
async fn revoke(server: &Server, workspace: &str) {
    let request = RevokeTokenRequest {
        name: server.token(token_in(workspace)).await.public.name,
        ..Default::default()
    };
    eventually("the token is revoked", async || {
        match server.admin().token_admin().revoke_token(request.clone()).await {
            Ok(_) => Some(()),
            Err(status) => {
                refusal(&status, Code::Unavailable, ErrorReason::StorageUnavailable);
                None
            }
        }
    })
    .await;
}

async fn incomplete_revocations_do_not_block_revocations(installation: Installation) {
    const CALLS: usize = 300;
    let server = serve(&installation, "").await;
    let acme = server.workspace("acme").await;
    let team = workspace_admin(&server, "team").await;
    let (mut peers, mut begun) = (Vec::new(), Vec::new());
    for _ in 0..CALLS / 100 {
        let mut peer = Peer::connect(server.grpc_address()).await;
        for _ in 0..100 {
            begun.push(peer.begin(REVOKE, &team.secret, &[]).await);
        }
        // The answer to a later call shows that the earlier calls have arrived.
        peer.begin(LIST_SCOPES, &team.secret, &[])
            .await
            .finish()
            .await
            .expect("the call succeeds");
        peers.push(peer);
    }
    for _ in 0..5 {
        revoke(&server, &acme).await;
    }
    for call in begun {
        // The call exceeds the deadline for its message, or the caller's share.
        let status = call.outcome().await.expect_err("the call has no message");
        assert!(
            matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable),
            "{status:?}"
        );
    }
}

async fn incomplete_calls_do_not_block_verdicts(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\npool_wait_ms = 5000")).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let verifier = server.caller("verifier", Role::Verifier).await;
    let (mut peers, mut begun) = (Vec::new(), Vec::new());
    for _ in 0..17 {
        let mut peer = Peer::connect(server.grpc_address()).await;
        for _ in 0..63 {
            begun.push(peer.begin(LIST_SCOPES, &verifier.secret, &[]).await);
        }
        // The answer to a later call shows that the earlier calls have arrived.
        let _ = peer.begin(LIST_SCOPES, &verifier.secret, &[]).await.finish().await;
        peers.push(peer);
    }
    let mut admin = server.admin().token_verify();
    for _ in 0..5 {
        let verdict = admin
            .verify(question(&token.secret, &acme, &[]))
            .await
            .expect("Verify succeeds");
        assert_eq!(verdict.into_inner().decision(), Decision::Allow);
    }
    // The same caller gets verdicts on another connection: only its lookups run one at a time.
    let verifier = server.client(&verifier.secret).await;
    eventually("the caller gets a verdict", async || {
        verifier
            .token_verify()
            .verify(question(&token.secret, &acme, &[]))
            .await
            .ok()
    })
    .await;
}

async fn a_flood_with_a_revoked_key_does_not_block_revocations(installation: Installation) {
    let server = serve(
        &installation,
        "failed_authentications = 1000000\nmax_revocations_in_flight = 16",
    )
    .await;
    let acme = server.workspace("acme").await;
    let mallory = server.caller("mallory", Role::Admin).await;
    let request = RevokeCallerKeyRequest {
        name: mallory.public,
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(request)
        .await
        .expect("RevokeCallerKey succeeds");
    let mut flood = JoinSet::new();
    for _ in 0..8 {
        let (address, key) = (server.grpc_address().to_owned(), mallory.secret.clone());
        flood.spawn(async move {
            let mut peer = Peer::connect(&address).await;
            loop {
                let mut begun = Vec::new();
                for _ in 0..50 {
                    begun.push(peer.begin(REVOKE, &key, &[]).await);
                }
                for call in begun {
                    call.finish().await.expect_err("the key is revoked");
                }
            }
        });
    }
    for _ in 0..20 {
        revoke(&server, &acme).await;
    }
    assert!(flood.try_join_next().is_none(), "the flood is still running");
}

/// Sends calls that wait for the database, and asserts that `refused` of them are refused.
async fn assert_refused(
    server: &Server,
    path: &'static str,
    key: &str,
    message: &[u8],
    calls: usize,
    refused: usize,
) -> Vec<Peer> {
    let mut outcomes = JoinSet::new();
    let mut peers = Vec::new();
    for _ in 0..calls {
        let mut peer = Peer::connect(server.grpc_address()).await;
        let (call, message) = (peer.begin(path, key, &[]).await, message.to_vec());
        outcomes.spawn(async move { timeout(10 * PATIENCE, call.send(&message)).await });
        peers.push(peer);
    }
    for _ in 0..refused {
        let outcome = outcomes
            .join_next()
            .await
            .expect("this many calls end")
            .expect("the task does not panic");
        let status: Status = outcome
            .expect("the call is answered in time")
            .expect_err("the share is used up");
        refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
    }
    outcomes.detach_all();
    peers
}

async fn calls_of_one_caller_are_limited_to_its_share(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight = 8")).await;
    let acme = server.workspace("acme").await;
    let team = workspace_admin(&server, "team").await;
    let held = held_writes::hold(&installation).await;
    let _peers = assert_refused(&server, CREATE, &team.secret, &token_in(&acme).encode_to_vec(), 20, 14).await;
    let mut other = Peer::connect(server.grpc_address()).await;
    other
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call of another caller succeeds");
    held.release().await;
}

async fn revocations_by_admins_have_a_reserved_share(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_revocations_in_flight = 8")).await;
    let acme = server.workspace("acme").await;
    let name = server.token(token_in(&acme)).await.public.name;
    let message = RevokeTokenRequest {
        name,
        ..Default::default()
    };
    let (team, crew) = (
        workspace_admin(&server, "team").await,
        workspace_admin(&server, "crew").await,
    );
    let held = held_writes::hold(&installation).await;
    let _team = assert_refused(&server, REVOKE, &team.secret, &message.encode_to_vec(), 10, 6).await;
    let _crew = assert_refused(&server, REVOKE, &crew.secret, &message.encode_to_vec(), 10, 8).await;
    let admin = server.admin().clone();
    let revoked = tokio::spawn(async move { admin.token_admin().revoke_token(message).await });
    // The revocation now waits with the others.
    tokio::task::yield_now().await;
    held.release().await;
    revoked
        .await
        .expect("the task does not panic")
        .expect("RevokeToken succeeds");
}

async fn unauthenticated_peers_cannot_use_all_health_watches(installation: Installation) {
    let server = serve(
        &installation,
        "max_health_watches = 8\nmax_health_watches_per_source = 3",
    )
    .await;
    let (mut peers, mut watches) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for host in 2..6 {
        let mut peer = Peer::connect_from(host, server.grpc_address()).await;
        for _ in 0..4 {
            let call = peer.begin(WATCH, "", &[]).await;
            match timeout(PATIENCE, call.watch())
                .await
                .expect("the call is answered in time")
            {
                Ok(watch) => watches.push(watch),
                Err(status) => {
                    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
                    refused += 1;
                }
            }
        }
        peers.push(peer);
    }
    assert_eq!((watches.len(), refused), (6, 10));
    // An authenticated connection can still watch.
    let mut known = Peer::connect(server.grpc_address()).await;
    known
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
    let _watch = known.begin(WATCH, "", &[]).await.stream().await;
}

async fn one_caller_cannot_use_all_connections(installation: Installation) {
    let server = serve(
        &installation,
        "max_connections = 12\nmax_unauthenticated = 4\nmax_unauthenticated_per_source = 4",
    )
    .await;
    let verifier = server.caller("verifier", Role::Verifier).await;
    let mut peers = Vec::new();
    for _ in 0..30 {
        let mut peer = Peer::connect(server.grpc_address()).await;
        peer.begin(LIST_SCOPES, &verifier.secret, &[])
            .await
            .finish()
            .await
            .expect("the call succeeds");
        peers.push(peer);
    }
    let mut honest = Peer::connect(server.grpc_address()).await;
    honest
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
    let open = async || peers.iter().filter(|peer| !peer.is_closed()).count();
    eventually("the excess connections are closed", async || {
        (open().await <= 3 + 4).then_some(())
    })
    .await;
    for peer in &mut peers {
        if !peer.is_closed() {
            peer.begin(LIST_SCOPES, &verifier.secret, &[])
                .await
                .finish()
                .await
                .expect("the call succeeds");
        }
    }
}
