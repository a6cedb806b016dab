//! A standby is promoted under load. With synchronous replication nothing is lost that was acknowledged, and no revoked
//! token is allowed at any time.

use std::{fs, time::Duration};

use tokend_client::v1::{Decision, VerifyResponse};
use tokend_tests::{
    Installation, Process, Proxy, SERVE_ON_FREE_PORTS, Server, eventually, on_postgres, postgres::Node, question,
    token_in,
};
use tokio::time::sleep;

use crate::{
    interrupted_commits::{begin_to_revoke, cancel_commits, is_not_acknowledged, reaches_nobody, revocation_waits},
    restore::{self, exported, lines},
    revocation_load::Load,
    standby::{becomes_not_ready, becomes_ready, is_denied, revoke, token},
};

on_postgres!(
    a_promoted_standby_has_everything_that_was_acknowledged,
    memory_of_the_old_primary_gives_no_verdict,
    a_failover_that_loses_a_revocation_is_reported_and_repaired,
);

/// Runs `tokend init` with the default lease, so that servers answer from memory most of the time.
pub(crate) async fn init(installation: &Installation) -> String {
    installation.run_on_data(["init"]).await.succeeded().trim().to_owned()
}

/// Starts a server that gives up soon in an outage, so that many calls meet it.
pub(crate) async fn serve(installation: &Installation, admin_key: &str) -> Server {
    let file = installation.directory().join("outage.toml");
    let deadlines = "verify_deadline_ms = 30000\nadmin_deadline_ms = 30000\nbody_deadline_ms = 30000";
    let database = "pool_wait_ms = 500\nwrite_wait_ms = 2000\nlock_timeout_ms = 2000\nstatement_timeout_ms = 2000";
    fs::write(&file, format!("[limits]\n{deadlines}\n{database}\n")).expect("the file is written");
    installation
        .serve_with(admin_key, ["--config", &file.to_string_lossy()])
        .await
}

async fn a_promoted_standby_has_everything_that_was_acknowledged(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let replication = Proxy::start(primary.address(), Duration::ZERO);
    let standby = primary.standby_through(replication.address());
    // After the standby is a copy: alone, it must not wait for another one.
    primary.set("synchronous_standby_names", Some("*"));
    eventually("the standby is synchronous", async || {
        let query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        (primary.number(query).await == Some(1)).then_some(())
    })
    .await;
    let url = format!(
        "postgres://postgres@{},{}/postgres",
        primary.address(),
        standby.address()
    );
    let installation = installation.on_database(url);
    let admin_key = init(&installation).await;
    let one = serve(&installation, &admin_key).await;
    let other = serve(&installation, &admin_key).await;

    let load = Load::start(&[&one, &other]).await;
    load.makes_progress().await;
    let spare = one.workspace("spare").await;
    let spare = one.token(token_in(&spare)).await.public.name;
    // The crash meets commits that the standby does not have, a revocation among them: those of the load may all wait
    // for the lock of a workspace in which a token is being created.
    reaches_nobody(&replication);
    let _lost = begin_to_revoke(&one, &spare);
    revocation_waits(&primary).await;
    primary.stop();
    becomes_not_ready(&one).await;
    becomes_not_ready(&other).await;
    load.sees_an_outage().await;
    standby.execute("SELECT pg_promote()");
    becomes_ready(&one).await;
    becomes_ready(&other).await;
    load.makes_progress().await;
    // A server that has never known the old primary.
    let third = serve(&installation, &admin_key).await;
    let answers = load.has_lost_nothing(&installation, &[&one, &other, &third]).await;
    assert!(
        answers.not_acknowledged > 0,
        "no change was interrupted by the failover: {answers:?}"
    );
}

/// The standby lacks a revision that the server knows, and takes its number for another change: the token's revocation.
/// Only the timeline shows that the server has not applied it.
async fn memory_of_the_old_primary_gives_no_verdict(installation: Installation) {
    let Some(primary) = Node::start() else { return };
    let replication = Proxy::start(primary.address(), Duration::ZERO);
    let standby = primary.standby_through(replication.address());
    primary.set("synchronous_standby_names", Some("*"));
    let route = Proxy::start(primary.address(), Duration::ZERO);
    let installation = installation.on_database(format!("postgres://postgres@{}/postgres", route.address()));
    let server = installation.start().await;
    let (other, _) = token(&server).await;
    let issued = server.token(token_in("workspaces/acme")).await;
    let (name, question) = (
        issued.public.name,
        question(&issued.secret, "workspaces/acme", &["repository"]),
    );
    let before = number(&server.verdict(question.clone()).await);

    reaches_nobody(&replication);
    let call = begin_to_revoke(&server, &other);
    cancel_commits(&primary, &call).await;
    is_not_acknowledged(call).await;
    let lost = eventually("the server knows the revision that gets lost", async || {
        let verdict = server.verdict(question.clone()).await;
        assert_eq!(verdict.decision(), Decision::Allow);
        Some(number(&verdict)).filter(|now| *now > before)
    })
    .await;
    primary.stop();
    standby.execute("SELECT pg_promote()");
    let installation = installation.on_database(standby.url());
    let new = installation.serve(server.admin_key()).await;
    let revision = new.revoke(&name).await.revision.expect("the answer has a revision");
    assert_eq!(revision.number, lost);

    route.lead_to(standby.address());
    is_denied(&server, &question).await;
    for _ in 0..100 {
        // While the server takes over the new primary's feed, too.
        if let Ok(verdict) = server.admin().token_verify().verify(question.clone()).await {
            let verdict = verdict.into_inner();
            assert_eq!(verdict.decision(), Decision::Deny, "{verdict:?}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    let verdict = server.verdict(question).await;
    let known = verdict.revision.expect("a token's verdict has a revision");
    assert_eq!(known.epoch, revision.epoch);
}

fn number(verdict: &VerifyResponse) -> u64 {
    verdict
        .revision
        .as_ref()
        .expect("a token's verdict has a revision")
        .number
}

/// With asynchronous replication. The revocations file shows what was lost, as docs/failover.md describes.
async fn a_failover_that_loses_a_revocation_is_reported_and_repaired(installation: Installation) {
    const REPORT: &str = "does not have the last line";
    let Some(primary) = Node::start() else { return };
    let replication = Proxy::start(primary.address(), Duration::ZERO);
    let standby = primary.standby_through(replication.address());
    let (first, second) = (primary.address(), standby.address());
    let installation = installation.on_database(format!("postgres://postgres@{first},{second}/postgres"));
    let admin_key = installation.init().await;
    let server = restore::serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let token = server.token(token_in(&acme)).await;
        tokens.push((token.public.name, question(&token.secret, &acme, &["repository"])));
    }
    let [(before, _), (lost, lost_question), (after, after_question)] = &tokens[..] else {
        panic!("three tokens, not {tokens:?}")
    };
    server.revoke(before).await;
    exported(&installation, before).await;
    eventually("the standby is up to date", async || {
        let query = "SELECT count(*) FROM tokens WHERE revoke_time IS NOT NULL";
        (standby.number(query).await == Some(1)).then_some(())
    })
    .await;

    reaches_nobody(&replication);
    server.revoke(lost).await;
    exported(&installation, lost).await;
    primary.stop();
    standby.execute("SELECT pg_promote()");
    becomes_ready(&server).await;
    eventually("the token works again", async || {
        let verdict = server.admin().token_verify().verify(lost_question.clone()).await.ok()?;
        (verdict.into_inner().decision() == Decision::Allow).then_some(())
    })
    .await;
    eventually("the loss is reported", async || {
        server.process().stderr().contains(REPORT).then_some(())
    })
    .await;
    // The next revocation takes the lost one's position. It neither hides the loss nor the line.
    eventually("another token is revoked", async || revoke(&server, after).await.ok()).await;
    is_denied(&server, after_question).await;
    server.stop().await;
    assert_eq!(lines(&installation).len(), 2);
    let file = restore::file(&installation);
    let mut command = installation.command_on_data(["serve", "--revocations-file", &file.to_string_lossy()]);
    command.args(SERVE_ON_FREE_PORTS);
    let sentence = Process::spawn(command, "").finish().await.failed_with_a_sentence();
    assert!(sentence.contains(REPORT), "{sentence}");

    let stored = installation.run_on_data(["export-revocations"]).await.succeeded();
    let missing: Vec<_> = lines(&installation)
        .into_iter()
        .filter(|line| !stored.contains(line))
        .collect();
    assert!(missing.len() == 1 && missing[0].contains(lost), "{missing:?}");
    fs::rename(&file, file.with_extension("lost")).expect("the file is moved");
    let server = restore::serve(&installation, &admin_key).await;
    server.revoke(lost).await;
    is_denied(&server, lost_question).await;
    for name in [before, lost, after] {
        exported(&installation, name).await;
    }
    assert_eq!(lines(&installation).len(), 3);
}
