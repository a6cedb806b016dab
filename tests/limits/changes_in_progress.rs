//! A change in progress is rejected when its caller's key is revoked. Of two admins who revoke each other, one
//! succeeds; an admin who revokes its own key twice succeeds once.

use tokend_client::v1::{
    BatchRevokeTokensRequest, CreateCallerKeyRequest, Decision, ErrorReason, ListCallersRequest, ListTokensRequest,
    RevokeCallerKeyRequest, Role,
};
use tokend_tests::{Installation, Server, eventually, held_writes, on_both_databases, question, refusal, token_in};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{
    peer::Peer,
    revoked_callers::{PATIENT, World},
    serve,
};

on_both_databases!(
    a_waiting_change_is_rejected_after_its_key_is_revoked,
    no_change_is_stored_after_its_key_is_revoked,
    one_of_two_admins_who_revoke_each_other_succeeds,
    a_key_can_revoke_itself_once,
    a_key_is_revoked_while_it_creates_keys,
);

/// The calls are complete and authenticated. Their transactions begin after the key is revoked.
async fn a_waiting_change_is_rejected_after_its_key_is_revoked(installation: Installation) {
    let world = World::new(&installation).await;
    let before = world.snapshot().await;
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
    // One read and one write: the answers to these later calls show that the earlier calls are authenticated.
    let mallory = world.server.client(&world.mallory.secret).await;
    mallory
        .caller_admin()
        .list_callers(ListCallersRequest::default())
        .await
        .expect("ListCallers succeeds");
    let names = vec![world.token.public.name.clone()];
    let request = BatchRevokeTokensRequest {
        parent: world.acme.clone(),
        names,
        validate_only: true,
        ..Default::default()
    };
    mallory
        .token_admin()
        .batch_revoke_tokens(request)
        .await
        .expect("BatchRevokeTokens succeeds");
    held.execute("DELETE FROM caller_keys WHERE caller = 'mallory'").await;
    while let Some(finished) = waiting.join_next().await {
        let (path, outcome) = finished.expect("the task does not panic");
        refusal(
            &outcome.expect_err(&path),
            Code::Unauthenticated,
            ErrorReason::InvalidCredential,
        );
    }
    assert_eq!(world.snapshot().await, before);
}

async fn no_change_is_stored_after_its_key_is_revoked(installation: Installation) {
    const ROUNDS: usize = 3;
    let server = serve(&installation, PATIENT).await;
    let acme = server.workspace("acme").await;
    let count = async || {
        let request = ListTokensRequest {
            parent: acme.clone(),
            page_size: 1,
            ..Default::default()
        };
        server
            .admin()
            .token_admin()
            .list_tokens(request)
            .await
            .expect("ListTokens succeeds")
            .into_inner()
            .total_size
    };
    for round in 0..ROUNDS {
        let mallory = server.caller(&format!("mallory-{round}"), Role::Admin).await;
        let mut creating = JoinSet::new();
        for _ in 0..8 {
            let (client, request) = (server.client(&mallory.secret).await, token_in(&acme));
            creating.spawn(async move {
                loop {
                    match client.token_admin().create_token(request.clone()).await {
                        Ok(_) => {}
                        // On a busy machine the database may exceed the deadline.
                        Err(status) if status.code() == Code::Unavailable => {}
                        Err(status) => return status,
                    }
                }
            });
        }
        let before = count().await;
        eventually("tokens are created", async || {
            (count().await > before + 20).then_some(())
        })
        .await;
        eventually("the key is revoked", async || {
            revoke(&server, server.admin_key(), &mallory.public).await.ok()
        })
        .await;
        let after_revocation = count().await;
        while let Some(finished) = creating.join_next().await {
            refusal(
                &finished.expect("the task does not panic"),
                Code::Unauthenticated,
                ErrorReason::InvalidCredential,
            );
        }
        assert_eq!(count().await, after_revocation, "round {round}");
    }
}

async fn revoke(server: &Server, by: &str, key: &str) -> Result<(), Status> {
    let client = server.client(by).await;
    let request = RevokeCallerKeyRequest {
        name: key.to_owned(),
        no_wait: false,
    };
    client.caller_admin().revoke_caller_key(request).await.map(drop)
}

/// Asserts that one of two calls succeeds, and that the other one is rejected because its key is revoked.
fn assert_one_of(outcomes: [Result<(), Status>; 2]) {
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let [status] = refused.as_slice() else {
        panic!("{refused:?}")
    };
    refusal(status, Code::Unauthenticated, ErrorReason::InvalidCredential);
}

async fn one_of_two_admins_who_revoke_each_other_succeeds(installation: Installation) {
    let server = serve(&installation, PATIENT).await;
    for round in 0..10 {
        let one = server.caller(&format!("one-{round}"), Role::Admin).await;
        let other = server.caller(&format!("other-{round}"), Role::Admin).await;
        let (first, second) = tokio::join!(
            revoke(&server, &one.secret, &other.public),
            revoke(&server, &other.secret, &one.public)
        );
        assert_one_of([first, second]);
    }
}

async fn a_key_can_revoke_itself_once(installation: Installation) {
    let server = serve(&installation, PATIENT).await;
    for round in 0..10 {
        let one = server.caller(&format!("one-{round}"), Role::Admin).await;
        let (first, second) = tokio::join!(
            revoke(&server, &one.secret, &one.public),
            revoke(&server, &one.secret, &one.public)
        );
        assert_one_of([first, second]);
    }
}

/// Creating a key locks its caller, and revoking a key locks every ADMIN. The two must not deadlock.
async fn a_key_is_revoked_while_it_creates_keys(installation: Installation) {
    let server = serve(&installation, PATIENT).await;
    for round in 0..10 {
        let mallory = server.caller(&format!("mallory-{round}"), Role::Admin).await;
        let client = server.client(&mallory.secret).await;
        let request = CreateCallerKeyRequest {
            parent: format!("callers/mallory-{round}"),
            ttl: None,
        };
        let create = async { client.caller_admin().create_caller_key(request).await };
        let (created, revoked) = tokio::join!(create, revoke(&server, server.admin_key(), &mallory.public));
        revoked.expect("RevokeCallerKey succeeds");
        if let Err(status) = created {
            refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
        }
        let callers = server
            .admin()
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await;
        callers.expect("the service still works");
    }
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(
        server.verdict(question(&token.secret, &acme, &[])).await.decision(),
        Decision::Allow
    );
}
