//! Revocations that share a COMMIT whose outcome is not known all fail. A repeat finds what was done.

use tokend_client::v1::{CreateWorkspaceRequest, ErrorReason, RevokeTokenRequest, RevokeTokenResponse, token::State};
use tokend_tests::{
    Installation, Records, Refused, Server, SmallDisk, eventually, on_postgres, on_sqlite, postgres::Node, token_in,
};
use tokio::task::JoinHandle;
use tonic::{Code, Response, Status};

on_postgres!(a_cancelled_commit_fails_every_revocation_that_shares_it);

const TOKENS: usize = 6;

type Call = JoinHandle<Result<Response<RevokeTokenResponse>, Status>>;

async fn tokens(server: &Server) -> Vec<String> {
    let acme = server.workspace("acme").await;
    let mut names = Vec::new();
    for _ in 0..TOKENS {
        names.push(server.token(token_in(&acme)).await.public.name);
    }
    names
}

fn revoke_all(server: &Server, names: &[String]) -> Vec<Call> {
    let begin = |name: &String| {
        let (admin, name) = (server.admin().clone(), name.clone());
        let request = RevokeTokenRequest {
            name,
            reason: "it leaked".to_owned(),
            no_wait: true,
        };
        tokio::spawn(async move { admin.token_admin().revoke_token(request).await })
    };
    names.iter().map(begin).collect()
}

/// Repeats the revocations until all have succeeded, and asserts that each token was revoked once.
async fn repeat(server: &Server, names: &[String], events: impl AsyncFn() -> i64) {
    for name in names {
        let revoked = eventually("the token is revoked", async || {
            let answer = revoke_all(server, std::slice::from_ref(name)).pop()?.await;
            answer.expect("the task does not panic").ok()
        });
        assert_eq!(
            revoked.await.into_inner().token.expect("a token").state(),
            State::Revoked
        );
    }
    assert_eq!(events().await, i64::try_from(names.len()).expect("few"));
}

const EVENTS: &str = "SELECT count(*) FROM audit_events WHERE type = 'token.revoked'";

async fn a_cancelled_commit_fails_every_revocation_that_shares_it(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let installation = installation.on_database(primary.url());
    let server = installation.start().await;
    let names = tokens(&server).await;
    primary.set("synchronous_standby_names", Some("nobody"));
    let mut calls = revoke_all(&server, &names);
    let cancel = "SELECT count(*) FROM \
                  (SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep') cancelled";
    let mut commits = 0;
    eventually("every call is answered", async || {
        commits += primary.number(cancel).await.unwrap_or_default();
        calls.iter().all(JoinHandle::is_finished).then_some(())
    })
    .await;
    for call in calls.drain(..) {
        let answer = call.await.expect("the task does not panic");
        answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
    }
    // A COMMIT may be cancelled more than once before it ends.
    assert!(commits >= 2, "{commits}");

    primary.set("synchronous_standby_names", None);
    repeat(&server, &names, async || {
        primary.number(EVENTS).await.unwrap_or_default()
    })
    .await;
}

mod full_disk {
    use super::*;

    on_sqlite!(a_full_disk_fails_every_revocation_and_revokes_no_token_twice);

    async fn a_full_disk_fails_every_revocation_and_revokes_no_token_twice(installation: Installation) {
        let Some(disk) = SmallDisk::mount(&installation.data_dir(), 8) else {
            return;
        };
        let server = installation.start().await;
        let names = tokens(&server).await;
        disk.fill();
        let mut number = 0;
        eventually("writes fail", async || {
            number += 1;
            let request = CreateWorkspaceRequest {
                workspace_id: format!("full-{number}"),
                display_name: "Full".to_owned(),
                ..CreateWorkspaceRequest::default()
            };
            let created = server.admin().workspace_admin().create_workspace(request).await;
            created.is_err().then_some(())
        })
        .await;
        for call in revoke_all(&server, &names) {
            let answer = call.await.expect("the task does not panic");
            answer.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
        }
        disk.free();
        let events = async || Records::of_installation(&installation).await.count(EVENTS).await;
        repeat(&server, &names, events).await;
    }
}
