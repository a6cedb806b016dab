//! Revoked and expired tokens are purged after the retention period; active tokens never are, whatever their expiry.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateWorkspaceRequest, Decision, DenyReason, ErrorReason, GetTokenRequest,
    IdentifyTokenRequest, ListTokensRequest, RotateTokenRequest, Token, create_token_request::Expiry, token::State,
    workspace,
};
use tokend_tests::{
    Installation, Issued, Records, Refused, Server, after, eventually, http, on_both_databases, on_postgres, question,
    token_in,
};
use tonic::Code;

on_both_databases!(
    revoked_and_expired_tokens_are_purged_after_retention,
    active_tokens_are_never_purged,
    a_deleted_workspace_outlasts_its_tokens,
    a_tampered_row_is_kept,
    rotating_an_expired_token_extends_its_retention,
    many_tokens_are_purged_and_counted,
);

mod replicas {
    use super::*;

    on_postgres!(two_servers_purge_each_token_once);
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The admin's key expires after 90 days, and the tests move the clock past two retention periods.
const RETENTION: [&str; 2] = ["--token-retention-days", "30"];

async fn start(installation: &Installation) -> Server {
    installation.start_with(RETENTION).await
}

async fn token_without_expiry(server: &Server, workspace: &str) -> Issued<Token> {
    server
        .token(CreateTokenRequest {
            expiry: Some(Expiry::NoExpiry(true)),
            ..token_in(workspace)
        })
        .await
}

async fn is_there(server: &Server, token: &Token) -> bool {
    let request = GetTokenRequest {
        name: token.name.clone(),
    };
    match server.admin().token_admin().get_token(request).await {
        Ok(_) => true,
        answer => {
            answer.refused(Code::NotFound, ErrorReason::TokenNotFound);
            false
        }
    }
}

async fn wait_until_purged(server: &Server, token: &Token) {
    eventually("the token is purged", async || {
        (!is_there(server, token).await).then_some(())
    })
    .await;
}

/// Returns the names in ListTokens and its total size.
async fn listed(server: &Server, workspace: &str) -> (Vec<String>, i64) {
    let request = ListTokensRequest {
        parent: workspace.to_owned(),
        ..Default::default()
    };
    let list = server
        .admin()
        .token_admin()
        .list_tokens(request)
        .await
        .expect("ListTokens succeeds")
        .into_inner();
    (
        list.tokens.into_iter().map(|token| token.name).collect(),
        list.total_size,
    )
}

/// Waits until the expiry of a token is recorded.
async fn wait_until_expiry_recorded(records: &mut Records, token: &Token) {
    eventually("the expiry is recorded", async || {
        let records = records.all().await;
        records
            .iter()
            .any(|record| record.kind == "token.expired" && record.resource == token.name)
            .then_some(())
    })
    .await;
}

async fn revoked_and_expired_tokens_are_purged_after_retention(installation: Installation) {
    let server = start(&installation).await;
    let acme = server.workspace("acme").await;
    let (revoked, later) = (
        token_without_expiry(&server, &acme).await,
        token_without_expiry(&server, &acme).await,
    );
    let (expired, alive) = (
        server.token(token_in(&acme)).await,
        token_without_expiry(&server, &acme).await,
    );
    server.revoke(&revoked.public.name).await;
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(HOUR);
    wait_until_expiry_recorded(&mut records, &expired.public).await;
    installation.clock().set_ahead(2 * DAY);
    server.revoke(&later.public.name).await;

    // The retention of the first two is over, that of the third is not.
    installation.clock().set_ahead(31 * DAY);
    wait_until_purged(&server, &revoked.public).await;
    wait_until_purged(&server, &expired.public).await;
    assert_eq!(
        server.get_token(&later.public.name).await.state(),
        State::Revoked,
        "its retention is not over"
    );
    assert_eq!(
        listed(&server, &acme).await,
        (vec![alive.public.name.clone(), later.public.name.clone()], 2)
    );
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 1);
    for token in [&revoked, &expired] {
        let verdict = server.verdict(question(&token.secret, &acme, &[])).await;
        assert_eq!(
            (verdict.decision(), verdict.deny_reason()),
            (Decision::Deny, DenyReason::Unrecognized)
        );
        let identify = IdentifyTokenRequest {
            secret: token.secret.clone(),
        };
        server
            .admin()
            .token_admin()
            .identify_token(identify)
            .await
            .refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    installation.clock().set_ahead(33 * DAY);
    wait_until_purged(&server, &later.public).await;
    assert_eq!(listed(&server, &acme).await, (vec![alive.public.name.clone()], 1));
    assert_eq!(
        server.verdict(question(&alive.secret, &acme, &[])).await.decision(),
        Decision::Allow
    );

    let purged: Vec<_> = records
        .of("acme")
        .await
        .into_iter()
        .filter(|record| record.kind == "token.purged")
        .collect();
    let names: Vec<_> = purged.iter().map(|record| record.resource.as_str()).collect();
    assert_eq!(
        names,
        [&revoked, &expired, &later].map(|token| token.public.name.as_str()),
        "each token is purged once"
    );
    assert!(
        purged
            .iter()
            .all(|record| [&record.caller, &record.actor, &record.address] == [""; 3]),
        "no caller is recorded: {purged:?}"
    );
    assert!(
        purged
            .iter()
            .all(|record| record.detail.starts_with("its end was on record since ")),
        "{purged:?}"
    );
    for table in ["token_notices", "token_usage"] {
        let left =
            format!("SELECT count(*) FROM {table} WHERE NOT EXISTS (SELECT 1 FROM tokens WHERE id = {table}.token)");
        assert_eq!(records.count(&left).await, 0, "nothing is left in {table}");
    }
    let metrics = http::get(server.ops_address(), "/metrics").1;
    assert!(metrics.contains("tokend_purged_tokens_total 3"), "{metrics}");
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

/// Whatever the expiry of a token, and even if the notices in the database were forged.
async fn active_tokens_are_never_purged(installation: Installation) {
    let server = start(&installation).await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let (revoked, later) = (
        server.token(token_in(&acme)).await,
        token_without_expiry(&server, &acme).await,
    );
    server.revoke(&revoked.public.name).await;
    let mut alive = vec![
        token_without_expiry(&server, &acme).await,
        token_without_expiry(&server, &globex).await,
    ];
    for (workspace, lifetime) in [(&acme, 89 * DAY), (&globex, 400 * DAY)] {
        alive.push(
            server
                .token(CreateTokenRequest {
                    expiry: after(lifetime),
                    ..token_in(workspace)
                })
                .await,
        );
    }
    server.suspend(&globex).await;
    let mut records = Records::of_installation(&installation).await;
    // Forged notices: every token has expired long ago.
    records.execute("DELETE FROM token_notices").await;
    let forged = "INSERT INTO token_notices (token, told, look_time, end_time) SELECT id, 31, NULL, 1 FROM tokens";
    assert_eq!(records.execute(forged).await, 6);
    installation.clock().set_ahead(45 * DAY);
    wait_until_purged(&server, &revoked.public).await;
    server.revoke(&later.public.name).await;
    // By the time the next token is purged, the server has examined all of them.
    installation.clock().set_ahead(80 * DAY);
    wait_until_purged(&server, &later.public).await;
    assert_eq!(records.count("SELECT count(*) FROM tokens").await, 4);
    server.resume(&globex).await;
    for token in alive {
        let verdict = server
            .verdict(question(&token.secret, &token.public.workspace, &[]))
            .await;
        assert_eq!(verdict.decision(), Decision::Allow, "{:?}", token.public.expire_time);
    }
}

async fn a_deleted_workspace_outlasts_its_tokens(installation: Installation) {
    let server = start(&installation).await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let (never_expiring, expiring) = (
        token_without_expiry(&server, &acme).await,
        server.token(token_in(&acme)).await,
    );
    let foreign = token_without_expiry(&server, &globex).await;
    server.delete_workspace(&acme).await;
    installation.clock().set_ahead(DAY);
    server.delete_workspace(&globex).await;
    installation.clock().set_ahead(30 * DAY + HOUR);
    wait_until_purged(&server, &never_expiring.public).await;
    wait_until_purged(&server, &expiring.public).await;
    assert!(
        is_there(&server, &foreign.public).await,
        "its workspace was deleted later"
    );
    installation.clock().set_ahead(32 * DAY);
    wait_until_purged(&server, &foreign.public).await;

    for (name, id) in [(acme, "acme"), (globex, "globex")] {
        assert_eq!(server.get_workspace(&name).await.state(), workspace::State::Deleted);
        let again = CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            ..Default::default()
        };
        let again = CreateWorkspaceRequest {
            display_name: "Again".to_owned(),
            ..again
        };
        let taken = server.admin().workspace_admin().create_workspace(again).await;
        taken.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    }
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn a_tampered_row_is_kept(installation: Installation) {
    let server = start(&installation).await;
    let acme = server.workspace("acme").await;
    let (edited, neighbour) = (
        token_without_expiry(&server, &acme).await.public,
        token_without_expiry(&server, &acme).await.public,
    );
    for token in [&edited, &neighbour] {
        server.revoke(&token.name).await;
    }
    // The edited row is examined first.
    let edit = "UPDATE tokens SET creator = 'someone' WHERE revoke_time = (SELECT min(revoke_time) FROM tokens)";
    assert_eq!(installation.sql(edit).await, 1);
    installation.clock().set_ahead(31 * DAY);
    wait_until_purged(&server, &neighbour).await;
    let mut records = Records::of_installation(&installation).await;
    assert_eq!(
        records.count("SELECT count(*) FROM tokens").await,
        1,
        "the tampered row is kept as evidence"
    );
    let id = edited.name.rsplit('/').next().expect("an id");
    let finished = server.stop().await;
    let line = finished
        .stderr
        .lines()
        .find(|line| line.contains("a token is not purged, because it can't be verified"));
    assert!(line.is_some_and(|line| line.contains(id)), "{}", finished.stderr);
}

async fn rotating_an_expired_token_extends_its_retention(installation: Installation) {
    let server = start(&installation).await;
    let acme = server.workspace("acme").await;
    let (rotated, other) = (
        server.token(token_in(&acme)).await.public,
        server.token(token_in(&acme)).await.public,
    );
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(HOUR);
    wait_until_expiry_recorded(&mut records, &rotated).await;
    wait_until_expiry_recorded(&mut records, &other).await;
    installation.clock().set_ahead(29 * DAY);
    let rotate = RotateTokenRequest {
        name: rotated.name.clone(),
        request_id: "once".to_owned(),
        ..Default::default()
    };
    let first = server
        .admin()
        .token_admin()
        .rotate_token(rotate.clone())
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    installation.clock().set_ahead(30 * DAY - HOUR);
    let again = server
        .admin()
        .token_admin()
        .rotate_token(rotate)
        .await
        .expect("the retry succeeds")
        .into_inner();
    assert_eq!(again.token.map(|token| token.name), first.token.map(|token| token.name));

    installation.clock().set_ahead(31 * DAY);
    wait_until_purged(&server, &other).await;
    assert!(
        is_there(&server, &rotated).await,
        "its retention starts at the rotation"
    );
    installation.clock().set_ahead(60 * DAY);
    wait_until_purged(&server, &rotated).await;
}

/// Creates and revokes tokens, and returns their workspace.
async fn workspace_with_revoked_tokens(server: &Server, id: &str, tokens: usize) -> String {
    let workspace = server.workspace(id).await;
    for _ in 0..tokens {
        let name = server.token(token_in(&workspace)).await.public.name;
        server.revoke(&name).await;
    }
    workspace
}

async fn many_tokens_are_purged_and_counted(installation: Installation) {
    let server = start(&installation).await;
    let (acme, globex) = (
        workspace_with_revoked_tokens(&server, "acme", 70).await,
        workspace_with_revoked_tokens(&server, "globex", 3).await,
    );
    let alive = token_without_expiry(&server, &acme).await.public;
    installation.clock().set_ahead(30 * DAY + HOUR);
    let mut records = Records::of_installation(&installation).await;
    eventually("all revoked tokens are purged", async || {
        (records.count("SELECT count(*) FROM tokens").await == 1).then_some(())
    })
    .await;
    assert_eq!(listed(&server, &acme).await, (vec![alive.name], 1));
    assert_eq!(listed(&server, &globex).await, (vec![], 0));
}

async fn two_servers_purge_each_token_once(installation: Installation) {
    const TOKENS: i64 = 120;
    let one = start(&installation).await;
    let other = installation.serve_with(one.admin_key(), RETENTION).await;
    let acme = workspace_with_revoked_tokens(&one, "acme", TOKENS as usize).await;
    let alive = token_without_expiry(&one, &acme).await.public;
    installation.clock().set_ahead(30 * DAY + HOUR);
    let mut records = Records::of_installation(&installation).await;
    eventually("all revoked tokens are purged", async || {
        (records.count("SELECT count(*) FROM tokens").await == 1).then_some(())
    })
    .await;
    for server in [&one, &other] {
        assert_eq!(listed(server, &acme).await, (vec![alive.name.clone()], 1));
    }
    let purged = "SELECT count(*) FROM audit_events WHERE type = 'token.purged'";
    assert_eq!(records.count(purged).await, TOKENS, "each token is purged once");
    for server in [one, other] {
        assert!(server.stop().await.status.success());
    }
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
