//! Verdicts come from memory while a lease runs, and nevertheless a change that has been answered holds on every server.

use std::time::{Duration, Instant};

use tokend_client::v1::{
    Decision, DeleteCallerRequest, DenyReason, ErrorReason, RevokeCallerKeyRequest, RevokeTokenRequest, Role,
    RotateTokenRequest, SuspendWorkspaceRequest, VerifyRequest, token_policy::ExistingTokens,
};
use tokend_tests::{
    Installation, Issued, Refused, Server, eventually, http, max_lifetime, on_both_databases, on_postgres, question,
    token_in,
};
use tonic::Code;

on_both_databases!(
    a_change_that_was_answered_holds_for_every_later_verify,
    a_lease_beyond_the_deadlines_is_refused,
    the_lease_is_shown,
);
on_postgres!(postgres_alone:
    verdicts_come_from_memory_as_long_as_the_lease_runs,
    answers_about_ends_wait_for_the_leases,
    an_answer_may_be_cached_for_the_rest_of_the_lease,
    a_client_sees_what_it_has_seen_before,
    the_lease_changes_while_servers_run,
);

/// The longest lease that the deadlines of the tests' servers allow with room to spare.
const LONG: Duration = Duration::from_secs(4);

pub(crate) async fn allowed(server: &Server, question: &VerifyRequest) -> bool {
    server.verdict(question.clone()).await.decision() == Decision::Allow
}

/// Returns a counter of the server.
fn counted(server: &Server, metric: &str) -> u64 {
    let metrics = http::get(server.ops_address(), "/metrics").1;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {metric} in {metrics}"));
    value.parse().expect("a number")
}

/// Asks until an answer comes from memory.
pub(crate) async fn warm(server: &Server, question: &VerifyRequest) {
    const FROM_MEMORY: &str = "tokend_token_look_ups_total{source=\"memory\"}";
    eventually("a verdict comes from memory", async || {
        let before = counted(server, FROM_MEMORY);
        assert!(allowed(server, question).await);
        (counted(server, FROM_MEMORY) > before).then_some(())
    })
    .await;
}

async fn a_change_that_was_answered_holds_for_every_later_verify(installation: Installation) {
    let server = installation.start().await;
    // SQLite has one server.
    let servers = if installation.postgres().is_some() {
        let key = server.admin_key().to_owned();
        vec![installation.serve(&key).await, installation.serve(&key).await, server]
    } else {
        vec![server]
    };
    let admin = servers.first().expect("a server");
    let acme = admin.workspace("acme").await;
    for round in 0..12 {
        let changing = &servers[round % servers.len()];
        let gateway = format!("gateway{round}");
        let caller = admin.caller(&gateway, Role::Verifier).await;
        let token = admin.token(token_in(&acme)).await;
        let asked = question(&token.secret, &acme, &["repository"]);
        let mut clients = Vec::new();
        for server in &servers {
            warm(server, &asked).await;
            let client = server.client(&caller.secret).await;
            let verdict = client
                .token_verify()
                .verify(asked.clone())
                .await
                .expect("Verify succeeds");
            assert_eq!(verdict.into_inner().decision(), Decision::Allow);
            clients.push(client);
        }
        let expected = end(changing, round, &token, &acme, &caller.public).await;
        for (server, client) in servers.iter().zip(&clients) {
            match expected {
                Some(reason) => assert_eq!(
                    server.verdict(asked.clone()).await.deny_reason(),
                    reason,
                    "round {round}"
                ),
                None => {
                    let refused = client.token_verify().verify(asked.clone()).await;
                    refused.refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
                }
            }
        }
        if round % 4 == 2 {
            changing.resume(&acme).await;
        }
    }
}

/// Ends a token, or its caller, in one of several ways. Returns why the token is denied, or nothing if the caller is
/// refused.
async fn end(
    server: &Server,
    round: usize,
    token: &Issued<tokend_client::v1::Token>,
    workspace: &str,
    key: &str,
) -> Option<DenyReason> {
    let name = token.public.name.clone();
    match round % 4 {
        0 => {
            server.revoke(&name).await;
            Some(DenyReason::Revoked)
        }
        1 => {
            let overlap = Some(prost_types::Duration::default());
            let request = RotateTokenRequest {
                name,
                overlap,
                ..Default::default()
            };
            let rotated = server.admin().token_admin().rotate_token(request).await;
            rotated.expect("RotateToken succeeds");
            Some(DenyReason::Expired)
        }
        2 => {
            server.suspend(workspace).await;
            Some(DenyReason::WorkspaceSuspended)
        }
        _ => {
            let request = RevokeCallerKeyRequest {
                name: key.to_owned(),
                no_wait: false,
            };
            let revoked = server.admin().caller_admin().revoke_caller_key(request).await;
            revoked.expect("RevokeCallerKey succeeds");
            None
        }
    }
}

async fn verdicts_come_from_memory_as_long_as_the_lease_runs(installation: Installation) {
    let database = installation.postgres().expect("the installation uses PostgreSQL");
    let key = installation.init_with(["--lease", "4s"]).await;
    let server = installation.serve(&key).await;
    let acme = server.workspace("acme").await;
    let asked = question(&server.token(token_in(&acme)).await.secret, &acme, &["repository"]);
    warm(&server, &asked).await;
    database.cut_off();
    assert!(allowed(&server, &asked).await, "the lease runs");
    let fresh = VerifyRequest {
        fully_consistent: true,
        ..asked.clone()
    };
    let refused = server.admin().token_verify().verify(fresh).await;
    refused.refused(Code::Unavailable, ErrorReason::StorageUnavailable);
    let unavailable = eventually("the lease ends", async || {
        let answer = server.admin().token_verify().verify(asked.clone()).await;
        match answer {
            Ok(verdict) => {
                assert_eq!(verdict.into_inner().decision(), Decision::Allow, "an outage is no deny");
                None
            }
            Err(status) => Some(status),
        }
    });
    Err::<tonic::Response<()>, _>(unavailable.await).refused(Code::Unavailable, ErrorReason::StorageUnavailable);
    database.restore();
    eventually("the database is back", async || {
        let answer = server.admin().token_verify().verify(asked.clone()).await;
        answer.is_ok().then_some(())
    })
    .await;
    warm(&server, &asked).await;
}

#[expect(clippy::disallowed_methods, reason = "this is about how long it takes")]
async fn took<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = call.await;
    (done, began.elapsed())
}

async fn answers_about_ends_wait_for_the_leases(installation: Installation) {
    let key = installation.init_with(["--lease", "1s"]).await;
    let server = installation.serve(&key).await;
    let acme = server.workspace("acme").await;
    let admin = server.admin();
    // The lease, a fifth of it, and 50 ms.
    let wait = Duration::from_millis(1_250);
    let token = server.token(token_in(&acme)).await.public.name;
    let revoke = |no_wait: bool| RevokeTokenRequest {
        name: token.clone(),
        no_wait,
        ..Default::default()
    };
    let (_, without) = took(admin.token_admin().revoke_token(revoke(true))).await;
    assert!(without < wait, "{without:?}");
    // A repetition says that the token is dead, as the first call would have.
    let mut spans = vec![(
        "RevokeToken again",
        took(admin.token_admin().revoke_token(revoke(false))).await.1,
    )];
    let absent = DeleteCallerRequest {
        name: "callers/nobody".to_owned(),
        no_wait: false,
    };
    let (gone, span) = took(admin.caller_admin().delete_caller(absent)).await;
    gone.refused(Code::NotFound, ErrorReason::CallerNotFound);
    spans.push(("DeleteCaller of nobody", span));
    let rotate = |name: String, overlap: i64| RotateTokenRequest {
        name,
        overlap: Some(prost_types::Duration {
            seconds: overlap,
            nanos: 0,
        }),
        ..Default::default()
    };
    let token = server.token(token_in(&acme)).await.public.name;
    let (rotated, span) = took(admin.token_admin().rotate_token(rotate(token, 0))).await;
    rotated.expect("RotateToken succeeds");
    spans.push(("RotateToken without overlap", span));
    let policy = max_lifetime(&acme, Duration::from_secs(3_600), ExistingTokens::Apply);
    let (_, span) = took(server.set_policy(policy)).await;
    spans.push(("UpdateTokenPolicy", span));
    let suspend = SuspendWorkspaceRequest {
        name: acme.clone(),
        no_wait: false,
    };
    let (suspended, span) = took(admin.workspace_admin().suspend_workspace(suspend)).await;
    suspended.expect("SuspendWorkspace succeeds");
    spans.push(("SuspendWorkspace", span));
    for (call, span) in spans {
        assert!(span >= wait, "{call} took {span:?}");
    }
    server.resume(&acme).await;
    let token = server.token(token_in(&acme)).await.public.name;
    let (rotated, span) = took(admin.token_admin().rotate_token(rotate(token, 60))).await;
    rotated.expect("RotateToken succeeds");
    assert!(span < wait, "a long overlap ends after every lease: {span:?}");
}

async fn an_answer_may_be_cached_for_the_rest_of_the_lease(installation: Installation) {
    let key = installation.init_with(["--lease", "4s"]).await;
    let server = installation.serve(&key).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let asked = question(&token.secret, &acme, &[]);
    warm(&server, &asked).await;
    let cacheable = |verdict: tokend_client::v1::VerifyResponse| -> Duration {
        let span = verdict.cacheable_for.expect("it is always there");
        span.try_into().expect("not negative")
    };
    let found = cacheable(server.verdict(asked.clone()).await);
    assert!(!found.is_zero() && found <= LONG, "{found:?}");
    let fresh = VerifyRequest {
        fully_consistent: true,
        ..asked.clone()
    };
    assert_eq!(cacheable(server.verdict(fresh).await), Duration::ZERO);
    // Not longer than the token lives.
    let short = tokend_client::v1::CreateTokenRequest {
        expiry: tokend_tests::after(Duration::from_secs(61)),
        ..token_in(&acme)
    };
    let short = question(&server.token(short).await.secret, &acme, &[]);
    warm(&server, &short).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    let verdict = server.verdict(short).await;
    if verdict.decision() == Decision::Allow {
        assert!(cacheable(verdict) <= Duration::from_secs(1));
    }
    let revoked = server.revoke(&token.public.name).await;
    assert!(revoked.revision.is_some());
    assert_eq!(
        cacheable(server.verdict(asked).await),
        Duration::ZERO,
        "a deny is not cached"
    );
}

async fn a_client_sees_what_it_has_seen_before(installation: Installation) {
    let key = installation.init_with(["--lease", "4s"]).await;
    let (one, other) = (installation.serve(&key).await, installation.serve(&key).await);
    let acme = one.workspace("acme").await;
    for _ in 0..5 {
        let token = one.token(token_in(&acme)).await;
        let asked = question(&token.secret, &acme, &[]);
        warm(&other, &asked).await;
        let request = RevokeTokenRequest {
            name: token.public.name,
            no_wait: true,
            ..Default::default()
        };
        let revoked = one.admin().token_admin().revoke_token(request).await;
        let min_revision = revoked.expect("RevokeToken succeeds").into_inner().revision;
        let asked = VerifyRequest { min_revision, ..asked };
        assert_eq!(other.verdict(asked).await.deny_reason(), DenyReason::Revoked);
    }
}

async fn the_lease_is_shown(installation: Installation) {
    installation.init_with(["--lease", "300ms"]).await;
    let shown = installation.run_on_data(["lease", "show"]).await.succeeded();
    assert!(shown.contains("300ms") && shown.contains("410ms"), "{shown}");
}

async fn a_lease_beyond_the_deadlines_is_refused(installation: Installation) {
    let key = installation.init().await;
    for (lease, words) in [("10s", "admin_deadline"), ("49ms", "50"), ("31s", "30000")] {
        let finished = installation.run_on_data(["lease", "set", lease]).await;
        assert!(!finished.status.success(), "{lease}");
        assert!(finished.stderr.contains(words), "{lease}: {}", finished.stderr);
    }
    // A server whose deadlines are shorter than the wait does not start.
    installation.run_on_data(["lease", "set", "4s"]).await.succeeded();
    let file = installation.directory().join("short.toml");
    std::fs::write(&file, "[limits]\nadmin_deadline_ms = 2000\n").expect("the file is written");
    let mut command = installation.command_on_data(["serve"]);
    command.arg("--config").arg(&file);
    command.args(tokend_tests::SERVE_ON_FREE_PORTS);
    let sentence = tokend_tests::Process::spawn(command, "")
        .finish()
        .await
        .failed_with_a_sentence();
    assert!(
        sentence.contains("admin_deadline") && sentence.contains("lease set"),
        "{sentence}"
    );
    drop(installation.serve(&key).await);
}

async fn the_lease_changes_while_servers_run(installation: Installation) {
    let key = installation.init_with(["--lease", "2s"]).await;
    let server = installation.serve(&key).await;
    let acme = server.workspace("acme").await;
    let (set, span) = took(installation.run_on_data(["lease", "set", "200ms"])).await;
    let shown = set.succeeded();
    assert!(shown.contains("200ms") && shown.contains("290ms"), "{shown}");
    assert!(
        span >= Duration::from_millis(2_450),
        "former leases have ended: {span:?}"
    );
    let token = server.token(token_in(&acme)).await.public.name;
    let (_, span) = took(server.revoke(&token)).await;
    assert!(span >= Duration::from_millis(290), "{span:?}");
    let (set, span) = took(installation.run_on_data(["lease", "set", "3s"])).await;
    assert!(set.succeeded().contains("3s"));
    assert!(span < Duration::from_secs(3), "a longer lease holds at once: {span:?}");
    let token = server.token(token_in(&acme)).await.public.name;
    let (_, span) = took(server.revoke(&token)).await;
    assert!(span >= Duration::from_millis(3_650), "{span:?}");
}
