//! Tokens are kept for a while after they have ended, and then purged; what works is never purged, whatever its expiry.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateWorkspaceRequest, Decision, DenyReason, ErrorReason, GetTokenRequest, IdentifyTokenRequest,
    ListTokensRequest, RotateTokenRequest, Token, create_token_request::Expiry, token::State, workspace,
};
use tokend_tests::{
    Installation, Issued, Records, Refused, Server, after, eventually, http, on_both_databases, on_postgres, question, token_in,
};
use tonic::Code;

on_both_databases!(
    what_has_ended_is_kept_and_then_purged,
    what_works_is_never_purged,
    the_tokens_of_a_deleted_workspace_go_and_it_stays,
    a_row_that_was_tampered_with_is_kept,
    who_rotates_an_expired_token_keeps_it,
    many_are_purged_and_counted,
);

mod replicas {
    use super::*;

    on_postgres!(of_two_servers_one_purges);
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// As long as a caller's key lasts, twice it would not fit.
const KEPT: [&str; 2] = ["--token-retention-days", "30"];

async fn start(installation: &Installation) -> Server {
    installation.start_with(KEPT).await
}

async fn endless(server: &Server, workspace: &str) -> Issued<Token> {
    server.token(CreateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..token_in(workspace) }).await
}

async fn is_there(server: &Server, token: &Token) -> bool {
    let request = GetTokenRequest { name: token.name.clone() };
    match server.admin().token_admin().get_token(request).await {
        Ok(_) => true,
        gone => {
            gone.refused(Code::NotFound, ErrorReason::TokenNotFound);
            false
        }
    }
}

async fn gone(server: &Server, token: &Token) {
    eventually("it is purged", async || (!is_there(server, token).await).then_some(())).await;
}

/// Names, and the number of all.
async fn listed(server: &Server, workspace: &str) -> (Vec<String>, i64) {
    let request = ListTokensRequest { parent: workspace.to_owned(), ..Default::default() };
    let list = server.admin().token_admin().list_tokens(request).await.expect("a list").into_inner();
    (list.tokens.into_iter().map(|token| token.name).collect(), list.total_size)
}

/// Waits until the end of a token by expiry is on record.
async fn recorded(records: &mut Records, token: &Token) {
    eventually("its end is on record", async || {
        let records = records.all().await;
        records.iter().any(|record| record.kind == "token.expired" && record.resource == token.name).then_some(())
    })
    .await;
}

async fn what_has_ended_is_kept_and_then_purged(installation: Installation) {
    let server = start(&installation).await;
    let acme = server.workspace("acme").await;
    let (revoked, later) = (endless(&server, &acme).await, endless(&server, &acme).await);
    let (expired, alive) = (server.token(token_in(&acme)).await, endless(&server, &acme).await);
    server.revoke(&revoked.public.name).await;
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(HOUR);
    recorded(&mut records, &expired.public).await;
    installation.clock().set_ahead(2 * DAY);
    server.revoke(&later.public.name).await;

    // A day more or less: the first is over, the third is not.
    installation.clock().set_ahead(31 * DAY);
    gone(&server, &revoked.public).await;
    gone(&server, &expired.public).await;
    assert_eq!(server.get_token(&later.public.name).await.state(), State::Revoked, "its time is not over");
    assert_eq!(listed(&server, &acme).await, (vec![alive.public.name.clone(), later.public.name.clone()], 2));
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 1);
    for token in [&revoked, &expired] {
        let verdict = server.verdict(question(&token.secret, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), (Decision::Deny, DenyReason::Unrecognized));
        let identify = IdentifyTokenRequest { secret: token.secret.clone() };
        server.admin().token_admin().identify_token(identify).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    installation.clock().set_ahead(33 * DAY);
    gone(&server, &later.public).await;
    assert_eq!(listed(&server, &acme).await, (vec![alive.public.name.clone()], 1));
    assert_eq!(server.verdict(question(&alive.secret, &acme, &[])).await.decision(), Decision::Allow);

    let purged: Vec<_> = records.of("acme").await.into_iter().filter(|record| record.kind == "token.purged").collect();
    let names: Vec<_> = purged.iter().map(|record| record.resource.as_str()).collect();
    assert_eq!(names, [&revoked, &expired, &later].map(|token| token.public.name.as_str()), "each once");
    assert!(purged.iter().all(|record| [&record.caller, &record.actor, &record.address] == [""; 3]), "by nobody: {purged:?}");
    assert!(purged.iter().all(|record| record.detail.starts_with("its end was on record since ")), "{purged:?}");
    for beside in ["token_notices", "token_usage"] {
        let left = format!("SELECT count(*) FROM {beside} WHERE NOT EXISTS (SELECT 1 FROM tokens WHERE id = {beside}.token)");
        assert_eq!(records.count(&left).await, 0, "nothing is left in {beside}");
    }
    let metrics = http::get(server.ops_address(), "/metrics").1;
    assert!(metrics.contains("tokend_purged_tokens_total 3"), "{metrics}");
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

/// Whatever its expiry, and whatever somebody has written beside it.
async fn what_works_is_never_purged(installation: Installation) {
    let server = start(&installation).await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let (ended, later) = (server.token(token_in(&acme)).await, endless(&server, &acme).await);
    server.revoke(&ended.public.name).await;
    let mut alive = vec![endless(&server, &acme).await, endless(&server, &globex).await];
    for (workspace, lifetime) in [(&acme, 89 * DAY), (&globex, 400 * DAY)] {
        alive.push(server.token(CreateTokenRequest { expiry: after(lifetime), ..token_in(workspace) }).await);
    }
    server.suspend(&globex).await;
    let mut records = Records::of_installation(&installation).await;
    // "They have all ended long ago."
    records.execute("DELETE FROM token_notices").await;
    let lie = "INSERT INTO token_notices (token, told, look_time, end_time) SELECT id, 31, NULL, 1 FROM tokens";
    assert_eq!(records.execute(lie).await, 6);
    installation.clock().set_ahead(45 * DAY);
    gone(&server, &ended.public).await;
    server.revoke(&later.public.name).await;
    // By the next time that something is purged, all of them were looked at.
    installation.clock().set_ahead(80 * DAY);
    gone(&server, &later.public).await;
    assert_eq!(records.count("SELECT count(*) FROM tokens").await, 4);
    server.resume(&globex).await;
    for token in alive {
        let verdict = server.verdict(question(&token.secret, &token.public.workspace, &[])).await;
        assert_eq!(verdict.decision(), Decision::Allow, "{:?}", token.public.expire_time);
    }
}

async fn the_tokens_of_a_deleted_workspace_go_and_it_stays(installation: Installation) {
    let server = start(&installation).await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let (endless_one, expiring) = (endless(&server, &acme).await, server.token(token_in(&acme)).await);
    let foreign = endless(&server, &globex).await;
    server.delete_workspace(&acme).await;
    installation.clock().set_ahead(DAY);
    server.delete_workspace(&globex).await;
    installation.clock().set_ahead(30 * DAY + HOUR);
    gone(&server, &endless_one.public).await;
    gone(&server, &expiring.public).await;
    assert!(is_there(&server, &foreign.public).await, "its workspace was deleted later");
    installation.clock().set_ahead(32 * DAY);
    gone(&server, &foreign.public).await;

    for (name, id) in [(acme, "acme"), (globex, "globex")] {
        assert_eq!(server.get_workspace(&name).await.state(), workspace::State::Deleted);
        let again = CreateWorkspaceRequest { workspace_id: id.to_owned(), ..Default::default() };
        let again = CreateWorkspaceRequest { display_name: "Again".to_owned(), ..again };
        let taken = server.admin().workspace_admin().create_workspace(again).await;
        taken.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    }
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn a_row_that_was_tampered_with_is_kept(installation: Installation) {
    let server = start(&installation).await;
    let acme = server.workspace("acme").await;
    let (edited, neighbour) = (endless(&server, &acme).await.public, endless(&server, &acme).await.public);
    for token in [&edited, &neighbour] {
        server.revoke(&token.name).await;
    }
    // It is looked at first.
    let edit = "UPDATE tokens SET creator = 'someone' WHERE revoke_time = (SELECT min(revoke_time) FROM tokens)";
    assert_eq!(installation.sql(edit).await, 1);
    installation.clock().set_ahead(31 * DAY);
    gone(&server, &neighbour).await;
    let mut records = Records::of_installation(&installation).await;
    assert_eq!(records.count("SELECT count(*) FROM tokens").await, 1, "it is evidence");
    let id = edited.name.rsplit('/').next().expect("an id");
    let finished = server.stop().await;
    let line = finished.stderr.lines().find(|line| line.contains("a token that is to be purged is kept"));
    assert!(line.is_some_and(|line| line.contains(id)), "{}", finished.stderr);
}

async fn who_rotates_an_expired_token_keeps_it(installation: Installation) {
    let server = start(&installation).await;
    let acme = server.workspace("acme").await;
    let (rotated, other) = (server.token(token_in(&acme)).await.public, server.token(token_in(&acme)).await.public);
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(HOUR);
    recorded(&mut records, &rotated).await;
    recorded(&mut records, &other).await;
    installation.clock().set_ahead(29 * DAY);
    let rotate = RotateTokenRequest { name: rotated.name.clone(), request_id: "once".to_owned(), ..Default::default() };
    let first = server.admin().token_admin().rotate_token(rotate.clone()).await.expect("it is rotated").into_inner();
    installation.clock().set_ahead(30 * DAY - HOUR);
    let again = server.admin().token_admin().rotate_token(rotate).await.expect("a retry is answered").into_inner();
    assert_eq!(again.token.map(|token| token.name), first.token.map(|token| token.name));

    installation.clock().set_ahead(31 * DAY);
    gone(&server, &other).await;
    assert!(is_there(&server, &rotated).await, "thirty days from its rotation on");
    installation.clock().set_ahead(60 * DAY);
    gone(&server, &rotated).await;
}

/// Makes tokens, revokes them all, and returns their workspace.
async fn ended(server: &Server, id: &str, tokens: usize) -> String {
    let workspace = server.workspace(id).await;
    for _ in 0..tokens {
        let name = server.token(token_in(&workspace)).await.public.name;
        server.revoke(&name).await;
    }
    workspace
}

async fn many_are_purged_and_counted(installation: Installation) {
    let server = start(&installation).await;
    let (acme, globex) = (ended(&server, "acme", 70).await, ended(&server, "globex", 3).await);
    let alive = endless(&server, &acme).await.public;
    installation.clock().set_ahead(30 * DAY + HOUR);
    let mut records = Records::of_installation(&installation).await;
    eventually("all are purged", async || (records.count("SELECT count(*) FROM tokens").await == 1).then_some(())).await;
    assert_eq!(listed(&server, &acme).await, (vec![alive.name], 1));
    assert_eq!(listed(&server, &globex).await, (vec![], 0));
}

async fn of_two_servers_one_purges(installation: Installation) {
    const TOKENS: i64 = 120;
    let one = start(&installation).await;
    let other = installation.serve_with(one.admin_key(), KEPT).await;
    let acme = ended(&one, "acme", TOKENS as usize).await;
    let alive = endless(&one, &acme).await.public;
    installation.clock().set_ahead(30 * DAY + HOUR);
    let mut records = Records::of_installation(&installation).await;
    eventually("all are purged", async || (records.count("SELECT count(*) FROM tokens").await == 1).then_some(())).await;
    for server in [&one, &other] {
        assert_eq!(listed(server, &acme).await, (vec![alive.name.clone()], 1));
    }
    let purged = "SELECT count(*) FROM audit_events WHERE type = 'token.purged'";
    assert_eq!(records.count(purged).await, TOKENS, "each once");
    for server in [one, other] {
        assert!(server.stop().await.status.success());
    }
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
