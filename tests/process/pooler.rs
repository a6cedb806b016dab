//! tokend behind PgBouncer in transaction mode: several servers share few sessions of PostgreSQL, and all that they do
//! works as on connections of their own. A PgBouncer that mixes up prepared statements is refused.

use std::{sync::Arc, time::Duration};

use tokend_client::{
    Client,
    v1::{
        BatchVerifyRequest, Decision, DenyReason, ErrorReason, ListAuditEventsRequest, ListTokensRequest,
        RevokeTokenRequest, RotateTokenRequest, UpdateTokenPolicyRequest, VerifyRequest,
        token_policy::ExistingTokens::Apply,
    },
};
use tokend_tests::{
    Installation, Process, Refused, SERVE_ON_FREE_PORTS, Server, eventually, max_lifetime, on_postgres,
    postgres::{Pooler, Release},
    question, token_in,
};
use tonic::{Code, Status};

on_postgres!(
    serve_and_commands_refuse_a_pooler_that_mixes_up_statements,
    several_servers_share_few_sessions,
    sessions_that_end_cost_no_wrong_verdict,
    commands_work_while_servers_run,
    a_missing_limit_on_statements_is_logged,
    a_restore_needs_postgresql_itself,
);

/// Fewer sessions than one server has connections, and fewer prepared statements in a session than a server uses.
const FEW: &str = "default_pool_size = 5\nmax_prepared_statements = 20";
const HOUR: Duration = Duration::from_secs(3_600);

/// Starts a recent pooler in front of the installation's database.
fn pooler(installation: &Installation) -> Option<Pooler> {
    let database = installation.postgres().expect("the test runs on PostgreSQL");
    Pooler::start(database, Release::Recent, FEW)
}

async fn serve_and_commands_refuse_a_pooler_that_mixes_up_statements(installation: Installation) {
    installation.init().await;
    let database = installation.postgres().expect("the test runs on PostgreSQL");
    for (release, settings) in [
        (Release::Old, ""),
        (Release::Old, "ignore_startup_parameters = options, extra_float_digits"),
        (Release::Recent, "max_prepared_statements = 0"),
    ] {
        let Some(pooler) = Pooler::start(database, release, settings) else {
            return;
        };
        for arguments in [
            &[&["serve"], &SERVE_ON_FREE_PORTS[..]].concat(),
            &["init"][..],
            &["init", "--recover"],
            &["migrate", "status"],
            &["migrate", "up"],
            &["keyring", "status"],
            &["audit", "verify"],
            &["export-revocations"],
            &["restore", "--revoke-all"],
        ] {
            let mut command = installation.command(arguments);
            command.arg("--data-dir").arg(installation.data_dir());
            command.args(["--database-url", &pooler.url()]);
            let sentence = Process::spawn(command, "").finish().await.failed_with_a_sentence();
            for part in [&*pooler.address(), "connection pooler", "use PgBouncer 1.21 or later"] {
                assert!(sentence.contains(part), "{arguments:?}: {sentence}");
            }
        }
    }
}

/// The clients of the first caller on several servers.
struct Servers(Vec<Client>);

impl Servers {
    /// Returns a client of a server that changes with `number`.
    fn any(&self, number: usize) -> &Client {
        &self.0[number % self.0.len()]
    }

    /// Asserts that all servers reach this verdict.
    async fn decide(&self, question: &VerifyRequest, expected: (Decision, DenyReason)) {
        for client in &self.0 {
            let verdict = client.token_verify().verify(question.clone()).await;
            let verdict = verdict.expect("Verify succeeds").into_inner();
            assert_eq!((verdict.decision(), verdict.deny_reason()), expected);
        }
    }
}

const ALLOWED: (Decision, DenyReason) = (Decision::Allow, DenyReason::Unspecified);

/// Lives the life of a token in a workspace, each step on another server.
async fn live(servers: &Servers, acme: &str, number: usize) -> Result<(), Status> {
    let (admin, other) = (servers.any(number).token_admin(), servers.any(number + 1).token_admin());
    let mut request = token_in(acme);
    request.request_id = format!("request-{number}");
    let created = admin.clone().create_token(request.clone()).await?.into_inner();
    let name = created.token.expect("the response has the token").name;
    // The repetition is answered from what another server has stored.
    let repeated = other.clone().create_token(request).await?.into_inner();
    assert_eq!(repeated.token.expect("the response has the token").name, name);
    let first = question(&created.secret, acme, &["repository:write"]);
    servers.decide(&first, ALLOWED).await;

    // Transactions that fail leave nothing behind.
    let lasting = format!("{name}0");
    let missing = RevokeTokenRequest {
        name: lasting,
        ..RevokeTokenRequest::default()
    };
    other
        .clone()
        .revoke_token(missing)
        .await
        .expect_err("there is no such token");
    let mut too_long = token_in(acme);
    too_long.expiry = tokend_tests::after(100 * HOUR);
    let refused = admin.clone().create_token(too_long).await;
    refused.refused(Code::FailedPrecondition, ErrorReason::PolicyViolated);
    let mut policy = max_lifetime(acme, 3 * HOUR, Apply);
    policy.etag = "stale".to_owned();
    let stale = UpdateTokenPolicyRequest {
        policy: Some(policy),
        ..UpdateTokenPolicyRequest::default()
    };
    let refused = servers.any(number).workspace_admin().update_token_policy(stale).await;
    refused.expect_err("the etag does not match");

    let rotate = RotateTokenRequest {
        name: name.clone(),
        overlap: Some(Duration::ZERO.try_into().expect("a span")),
        ..RotateTokenRequest::default()
    };
    let rotated = other.clone().rotate_token(rotate).await?.into_inner();
    servers.decide(&first, (Decision::Deny, DenyReason::Expired)).await;
    let second = question(&rotated.secret, acme, &["repository"]);
    servers.decide(&second, ALLOWED).await;

    let revoke = RevokeTokenRequest {
        name: rotated.token.expect("the response has the token").name,
        reason: "it leaked".to_owned(),
        no_wait: false,
    };
    admin.clone().revoke_token(revoke.clone()).await?;
    servers.decide(&second, (Decision::Deny, DenyReason::Revoked)).await;
    other.clone().revoke_token(revoke).await?;
    Ok(())
}

/// Returns how many tokens the pages of a list have.
async fn listed_tokens(client: &Client, parent: &str) -> usize {
    let (mut count, mut page_token) = (0, String::new());
    loop {
        let request = ListTokensRequest {
            parent: parent.to_owned(),
            page_size: 7,
            page_token,
            ..ListTokensRequest::default()
        };
        let page = client
            .token_admin()
            .list_tokens(request)
            .await
            .expect("ListTokens succeeds");
        let page = page.into_inner();
        count += page.tokens.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return count;
        }
    }
}

async fn several_servers_share_few_sessions(installation: Installation) {
    const LIVES: usize = 3;
    let Some(pooler) = pooler(&installation) else { return };
    let installation = installation.on_database(pooler.url());
    let first = installation.start().await;
    let second = installation.serve(first.admin_key()).await;
    let third = installation.serve(first.admin_key()).await;
    let servers = [&first, &second, &third].map(|server| server.admin().clone());
    let servers = Arc::new(Servers(servers.to_vec()));
    let mut workspaces = Vec::new();
    for number in 0..6 {
        let acme = first.workspace(&format!("acme-{number}")).await;
        second.set_policy(max_lifetime(&acme, 2 * HOUR, Apply)).await;
        workspaces.push(acme);
    }
    let mut lives = tokio::task::JoinSet::new();
    for (index, acme) in workspaces.iter().cloned().enumerate() {
        let servers = Arc::clone(&servers);
        lives.spawn(async move {
            for number in 0..LIVES {
                live(&servers, &acme, index + number).await.expect("each step succeeds");
            }
        });
    }
    while let Some(ended) = lives.join_next().await {
        ended.expect("no task panics");
    }
    for (number, acme) in workspaces.iter().enumerate() {
        // Each token has one successor.
        assert_eq!(listed_tokens(servers.any(number), acme).await, 2 * LIVES);
        let events = ListAuditEventsRequest {
            parent: acme.clone(),
            page_size: 1_000,
            ..ListAuditEventsRequest::default()
        };
        let events = servers.any(number).audit_log().list_audit_events(events).await;
        let events = events.expect("ListAuditEvents succeeds").into_inner().events;
        let revoked = events.iter().filter(|event| event.r#type == "token.revoked").count();
        assert_eq!(revoked, LIVES, "{events:#?}");
    }
    let questions = vec![question("nonsense", &workspaces[0], &[]); 100];
    let request = BatchVerifyRequest { requests: questions };
    let batch = third.admin().token_verify().batch_verify(request).await;
    assert_eq!(batch.expect("BatchVerify succeeds").into_inner().responses.len(), 100);
    // The changes and their records agree.
    installation.run_on_data(["audit", "verify"]).await.succeeded();
    for server in [first, second, third] {
        assert!(server.stop().await.status.success());
    }
}

/// A session can end at any time, within a transaction or between two: of the sessions, not of the connections.
async fn sessions_that_end_cost_no_wrong_verdict(installation: Installation) {
    const ENDS: usize = 10;
    let Some(pooler) = pooler(&installation) else { return };
    let installation = installation.on_database(pooler.url());
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (dead, living) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    server.revoke(&dead.public.name).await;
    let questions = [
        (question(&living.secret, &acme, &[]), Decision::Allow),
        (question(&dead.secret, &acme, &[]), Decision::Deny),
    ];
    let mut load = tokio::task::JoinSet::new();
    for (question, expected) in questions.clone().into_iter().cycle().take(8) {
        let client = server.admin().clone();
        load.spawn(async move {
            let mut unavailable = 0_u32;
            loop {
                match client.token_verify().verify(question.clone()).await {
                    Ok(verdict) => assert_eq!(verdict.into_inner().decision(), expected),
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                        unavailable += 1;
                        assert!(unavailable < 10_000, "{status:?}");
                    }
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let mut revoked = Vec::new();
    for _ in 0..ENDS {
        let next = eventually("a token is created", async || {
            server.admin().token_admin().create_token(token_in(&acme)).await.ok()
        });
        let next = next.await.into_inner();
        let name = next.token.expect("the response has the token").name;
        let end = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'tokend'";
        let request = RevokeTokenRequest {
            name: name.clone(),
            ..RevokeTokenRequest::default()
        };
        let revoke = async || server.admin().token_admin().revoke_token(request).await;
        let (ended, revoking) = tokio::join!(installation.texts(end), revoke());
        assert_ne!(ended, ["0"]);
        revoked.push((name, next.secret, revoking.is_ok()));
    }
    for (question, expected) in questions {
        let verdict = eventually("Verify succeeds", async || {
            server.admin().token_verify().verify(question.clone()).await.ok()
        });
        assert_eq!(verdict.await.into_inner().decision(), expected);
    }
    // What was acknowledged is in effect; what was not can be repeated.
    for (name, secret, is_acknowledged) in revoked {
        if !is_acknowledged {
            let request = RevokeTokenRequest {
                name,
                ..RevokeTokenRequest::default()
            };
            eventually("the token is revoked", async || {
                server.admin().token_admin().revoke_token(request.clone()).await.ok()
            })
            .await;
        }
        let verdict = eventually("Verify succeeds", async || {
            let question = question(&secret, &acme, &[]);
            server.admin().token_verify().verify(question).await.ok()
        });
        assert_eq!(verdict.await.into_inner().deny_reason(), DenyReason::Revoked);
    }
    // A task ends only by a verdict that is wrong.
    let ended = load.try_join_next();
    assert!(ended.is_none(), "{ended:?}");
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn commands_work_while_servers_run(installation: Installation) {
    let Some(pooler) = pooler(&installation) else { return };
    let installation = installation.on_database(pooler.url());
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.revoke(&token.public.name).await;
    assert!(installation.run_on_data(["migrate", "status"]).await.status.success());
    installation.run_on_data(["migrate", "up"]).await.succeeded();
    installation.run_on_data(["lease", "set", "300ms"]).await.succeeded();
    let lease = installation.run_on_data(["lease", "show"]).await.succeeded();
    assert!(lease.contains("300ms"), "{lease}");
    let added = installation.run_on_data(["keyring", "add"]).await.succeeded();
    let kid = added
        .split_whitespace()
        .next()
        .expect("the command prints the key's id")
        .to_owned();
    installation
        .run_on_data(["keyring", "activate", &kid, "--force"])
        .await
        .succeeded();
    eventually("the server creates tokens with the new key", async || {
        server.admin().token_admin().create_token(token_in(&acme)).await.ok()
    })
    .await;
    let status = installation.run_on_data(["keyring", "status"]).await.succeeded();
    assert!(status.contains(&kid), "{status}");
    let exported = installation.run_on_data(["export-revocations"]).await.succeeded();
    assert!(exported.contains(&token.public.name), "{exported}");
    installation.run_on_data(["init", "--recover"]).await.succeeded();
    installation.run_on_data(["audit", "verify"]).await.succeeded();
    assert!(server.stop().await.status.success());
}

/// A pooler can't pass the limit on, so it has to be set in PostgreSQL.
async fn a_missing_limit_on_statements_is_logged(installation: Installation) {
    let Some(unlimited) = pooler(&installation) else { return };
    let installation = installation.on_database(unlimited.url());
    let server = installation.start().await;
    let warning = "ALTER ROLE postgres SET statement_timeout = '10000ms'";
    let stderr = server.process().stderr();
    assert!(stderr.contains(warning), "{stderr}");
    installation
        .sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 9000', current_database()); END $$")
        .await;
    let Some(limited) = pooler(&installation) else { return };
    let installation = installation.on_database(limited.url());
    let server = installation.serve(server.admin_key()).await;
    let stderr = server.process().stderr();
    assert!(!stderr.contains(warning) && stderr.contains("serving"), "{stderr}");
}

/// Behind a pooler, a command can't see whether a server still runs. PostgreSQL itself shows the sessions of a server,
/// as long as the pooler has them.
async fn a_restore_needs_postgresql_itself(installation: Installation) {
    let Some(pooler) = pooler(&installation) else { return };
    let direct = installation
        .postgres()
        .expect("the test runs on PostgreSQL")
        .url()
        .to_owned();
    let installation = installation.on_database(pooler.url());
    let server: Server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    let restore = ["restore", "--revoke-all"];
    let sentence = installation.run_on_data(restore).await.failed_with_a_sentence();
    assert!(
        sentence.contains("hides whether servers use the database") && sentence.contains(&pooler.address()),
        "{sentence}"
    );
    let installation = installation.on_database(direct);
    let sentence = installation.run_on_data(restore).await.failed_with_a_sentence();
    assert!(sentence.contains("other processes use the database"), "{sentence}");
    assert!(server.stop().await.status.success());
    drop(pooler);
    eventually("PostgreSQL has ended the sessions of the pooler", async || {
        installation.run_on_data(restore).await.status.success().then_some(())
    })
    .await;
}
