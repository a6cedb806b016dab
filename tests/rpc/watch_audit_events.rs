//! `AuditLog.WatchAuditEvents` streams every event once, in order, as it is recorded.

use std::time::Duration;

use tokend_client::v1::{ErrorReason, RevokeCallerKeyRequest, Role};
use tokend_tests::{Installation, on_both_databases, refusal, token_in};
use tokio::time::timeout;
use tonic::Code;

use crate::audit_log::{next, watch};

on_both_databases!(
    a_watch_streams_every_event_once_and_in_order,
    a_watch_resumes_after_a_sequence_number,
    a_watch_ends_when_its_key_is_revoked,
);

async fn a_watch_streams_every_event_once_and_in_order(installation: Installation) {
    const WRITERS: usize = 4;
    const WRITES: usize = 15;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut early = watch(server.admin(), &acme, 0)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (client, request) = (server.admin().clone(), token_in(&acme));
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    client
                        .token_admin()
                        .create_token(request.clone())
                        .await
                        .expect("CreateToken succeeds");
                }
            })
        })
        .collect();
    let mut late = watch(server.admin(), &acme, 1)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    let all = (WRITERS * WRITES) as i64 + 1;
    let mut events = Vec::new();
    for sequence in 1..=all {
        let event = next(&mut early).await;
        assert_eq!(event.sequence, sequence);
        events.push(event);
    }
    for sequence in 2..=all {
        assert_eq!(next(&mut late).await.sequence, sequence);
    }
    assert!(events.windows(2).all(|pair| pair[1].previous_hash == pair[0].hash));
    for writer in writers {
        writer.await.expect("the writer succeeds");
    }
}

async fn a_watch_resumes_after_a_sequence_number(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..3 {
        server.token(token_in(&acme)).await;
    }
    let mut first = watch(server.admin(), &acme, 0)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    assert_eq!(
        [next(&mut first).await.sequence, next(&mut first).await.sequence],
        [1, 2]
    );
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());

    let successor = installation.serve(&key).await;
    successor.token(token_in(&acme)).await;
    let mut second = watch(successor.admin(), &acme, 2)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    for sequence in 3..=5 {
        assert_eq!(next(&mut second).await.sequence, sequence);
    }
    // At the end of the chain the watch waits for the next event.
    let mut third = watch(successor.admin(), &acme, 5)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    successor.token(token_in(&acme)).await;
    assert_eq!(next(&mut third).await.sequence, 6);
}

async fn a_watch_ends_when_its_key_is_revoked(installation: Installation) {
    let server = installation.start().await;
    let auditor = server.caller("auditor", Role::Auditor).await;
    let client = server.client(&auditor.secret).await;
    let mut watch = watch(&client, "-", 0)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    next(&mut watch).await;
    let revoke = RevokeCallerKeyRequest {
        name: auditor.public,
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    let end_of_watch = async {
        loop {
            if let Err(status) = watch.message().await {
                break status;
            }
        }
    };
    let status = timeout(Duration::from_secs(30), end_of_watch)
        .await
        .expect("the watch ends in time");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);
}
