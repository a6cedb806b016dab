//! An end that a policy has brought nearer is told of like any other: what was due by then at once, and none twice.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateWorkspaceRequest, Token,
    create_token_request::Expiry,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Records, Server, after, eventually, max_lifetime, on_both_databases, token_in};

on_both_databases!(
    what_is_due_by_a_deadline_is_told_at_once,
    an_organizations_deadline_is_told_of_in_its_workspaces,
    a_deadline_that_is_lifted_is_not_told_of,
    any_number_of_tokens_is_found,
);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn endless(server: &Server, workspace: &str) -> Token {
    server.token(CreateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..token_in(workspace) }).await.public
}

async fn lasting(server: &Server, workspace: &str, span: Duration) -> Token {
    server.token(CreateTokenRequest { expiry: after(span), ..token_in(workspace) }).await.public
}

/// What was told of a token's end, in order.
async fn told(records: &mut Records, token: &Token) -> Vec<String> {
    let of_token = records.all().await.into_iter().filter(|record| record.resource == token.name);
    let notices = of_token.filter(|record| ["token.expiring", "token.expired"].contains(&record.kind.as_str()));
    notices.map(|record| record.detail.split(" at ").next().unwrap_or_default().to_owned()).collect()
}

async fn reaches(records: &mut Records, token: &Token, notices: &[&str]) {
    eventually(&format!("{notices:?} are told"), async || (told(records, token).await == notices).then_some(())).await;
}

const LATE: [&str; 2] = ["60 days before its end", "30 days before its end"];
const ALL: [&str; 5] = [LATE[0], LATE[1], "7 days before its end", "1 day before its end", "ended"];

async fn what_is_due_by_a_deadline_is_told_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (bound, longer) = (endless(&server, &acme).await, lasting(&server, &acme, 400 * DAY).await);
    let revoked = endless(&server, &acme).await;
    server.revoke(&revoked.name).await;
    installation.clock().set_ahead(70 * DAY);
    let young = lasting(&server, &acme, 8 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    server.set_policy(max_lifetime(&acme, 10 * DAY, Apply)).await;
    for (day, count) in [(70, 2), (73, 3), (79, 4), (80, 5)] {
        installation.clock().set_ahead(day * DAY + HOUR);
        for token in [&bound, &longer] {
            reaches(&mut records, token, &ALL[..count]).await;
        }
    }
    reaches(&mut records, &young, &ALL[2..]).await;
    assert_eq!(told(&mut records, &revoked).await, [""; 0]);
    // Its end is on record, as any other's.
    assert_eq!(records.count("SELECT count(*) FROM token_notices WHERE end_time IS NOT NULL").await, 3);
    assert_eq!(records.count("SELECT count(*) FROM notice_plans").await, 0, "nothing is left to find out");
}

async fn an_organizations_deadline_is_told_of_in_its_workspaces(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let mut bound = Vec::new();
    for id in ["acme", "globex"] {
        let request =
            CreateWorkspaceRequest { workspace_id: id.to_owned(), display_name: id.to_owned(), organization: initech.clone() };
        server.admin().workspace_admin().create_workspace(request).await.expect("it is made");
        bound.push(endless(&server, &format!("workspaces/{id}")).await);
    }
    let foreign = endless(&server, &server.workspace("hooli").await).await;
    installation.clock().set_ahead(70 * DAY);
    server.set_policy(max_lifetime(&initech, DAY * 3 / 2, Apply)).await;
    let mut records = Records::of_installation(&installation).await;
    for (ahead, count) in [(70 * DAY + HOUR, 3), (71 * DAY, 4), (72 * DAY, 5)] {
        installation.clock().set_ahead(ahead);
        for token in &bound {
            reaches(&mut records, token, &ALL[..count]).await;
        }
    }
    assert_eq!(told(&mut records, &foreign).await, [""; 0]);
}

async fn a_deadline_that_is_lifted_is_not_told_of(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (bound, own) = (endless(&server, &acme).await, lasting(&server, &acme, 85 * DAY).await);
    installation.clock().set_ahead(70 * DAY);
    server.set_policy(max_lifetime(&acme, 10 * DAY, Apply)).await;
    let mut records = Records::of_installation(&installation).await;
    for token in [&bound, &own] {
        reaches(&mut records, token, &LATE).await;
    }
    server.set_policy(max_lifetime(&acme, 10 * DAY, Keep)).await;
    // By its own end, of which one warning is told already.
    for (day, count) in [(78, 3), (84, 4), (85, 5)] {
        installation.clock().set_ahead(day * DAY + HOUR);
        reaches(&mut records, &own, &ALL[..count]).await;
    }
    assert_eq!(told(&mut records, &bound).await, LATE, "it ends no more");
    assert_eq!(records.count("SELECT count(*) FROM token_notices WHERE look_time IS NOT NULL").await, 0);
}

async fn any_number_of_tokens_is_found(installation: Installation) {
    const TOKENS: i64 = 130;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..TOKENS {
        endless(&server, &acme).await;
    }
    server.set_policy(max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR);
    let mut records = Records::of_installation(&installation).await;
    let ends = "SELECT count(DISTINCT resource) FROM audit_events WHERE type = 'token.expired'";
    eventually("all are told of", async || (records.count(ends).await == TOKENS).then_some(())).await;
    let all = "SELECT count(*) FROM audit_events WHERE type IN ('token.expiring', 'token.expired')";
    assert_eq!(records.count(all).await, TOKENS, "each once");
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
