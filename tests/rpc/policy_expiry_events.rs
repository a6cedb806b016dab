//! Expiry events follow an expiry that a policy has brought forward: overdue events are sent at once, and each event is
//! sent once.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateWorkspaceRequest, Token,
    create_token_request::Expiry,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Records, Server, after, eventually, max_lifetime, on_both_databases, token_in};

on_both_databases!(
    overdue_events_are_sent_at_once,
    an_organizations_deadline_applies_in_its_workspaces,
    a_removed_deadline_sends_no_events,
    every_token_of_many_gets_one_event,
);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn token_without_expiry(server: &Server, workspace: &str) -> Token {
    server
        .token(CreateTokenRequest {
            expiry: Some(Expiry::NoExpiry(true)),
            ..token_in(workspace)
        })
        .await
        .public
}

async fn token_for(server: &Server, workspace: &str, span: Duration) -> Token {
    server
        .token(CreateTokenRequest {
            expiry: after(span),
            ..token_in(workspace)
        })
        .await
        .public
}

/// Returns the expiry events of a token, in order.
async fn notices_of(records: &mut Records, token: &Token) -> Vec<String> {
    let of_token = records
        .all()
        .await
        .into_iter()
        .filter(|record| record.resource == token.name);
    let notices = of_token.filter(|record| ["token.expiring", "token.expired"].contains(&record.kind.as_str()));
    notices
        .map(|record| record.detail.split(" at ").next().unwrap_or_default().to_owned())
        .collect()
}

async fn wait_for_notices(records: &mut Records, token: &Token, notices: &[&str]) {
    eventually(&format!("{notices:?} are recorded"), async || {
        (notices_of(records, token).await == notices).then_some(())
    })
    .await;
}

const LATE: [&str; 2] = ["60 days before its end", "30 days before its end"];
const ALL: [&str; 5] = [
    LATE[0],
    LATE[1],
    "7 days before its end",
    "1 day before its end",
    "ended",
];

async fn overdue_events_are_sent_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (bound, longer) = (
        token_without_expiry(&server, &acme).await,
        token_for(&server, &acme, 400 * DAY).await,
    );
    let revoked = token_without_expiry(&server, &acme).await;
    server.revoke(&revoked.name).await;
    installation.clock().set_ahead(70 * DAY);
    let young = token_for(&server, &acme, 8 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    server.set_policy(max_lifetime(&acme, 10 * DAY, Apply)).await;
    for (day, count) in [(70, 2), (73, 3), (79, 4), (80, 5)] {
        installation.clock().set_ahead(day * DAY + HOUR);
        for token in [&bound, &longer] {
            wait_for_notices(&mut records, token, &ALL[..count]).await;
        }
    }
    wait_for_notices(&mut records, &young, &ALL[2..]).await;
    assert_eq!(notices_of(&mut records, &revoked).await, [""; 0]);
    // The expiry is recorded as for any other token.
    assert_eq!(
        records
            .count("SELECT count(*) FROM token_notices WHERE end_time IS NOT NULL")
            .await,
        3
    );
    assert_eq!(
        records.count("SELECT count(*) FROM notice_plans").await,
        0,
        "no notice plan is left"
    );
}

async fn an_organizations_deadline_applies_in_its_workspaces(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let mut bound = Vec::new();
    for id in ["acme", "globex"] {
        let request = CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            display_name: id.to_owned(),
            organization: initech.clone(),
        };
        server
            .admin()
            .workspace_admin()
            .create_workspace(request)
            .await
            .expect("CreateWorkspace succeeds");
        bound.push(token_without_expiry(&server, &format!("workspaces/{id}")).await);
    }
    let foreign = token_without_expiry(&server, &server.workspace("hooli").await).await;
    installation.clock().set_ahead(70 * DAY);
    server.set_policy(max_lifetime(&initech, DAY * 3 / 2, Apply)).await;
    let mut records = Records::of_installation(&installation).await;
    for (ahead, count) in [(70 * DAY + HOUR, 3), (71 * DAY, 4), (72 * DAY, 5)] {
        installation.clock().set_ahead(ahead);
        for token in &bound {
            wait_for_notices(&mut records, token, &ALL[..count]).await;
        }
    }
    assert_eq!(notices_of(&mut records, &foreign).await, [""; 0]);
}

async fn a_removed_deadline_sends_no_events(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (bound, own) = (
        token_without_expiry(&server, &acme).await,
        token_for(&server, &acme, 85 * DAY).await,
    );
    installation.clock().set_ahead(70 * DAY);
    server.set_policy(max_lifetime(&acme, 10 * DAY, Apply)).await;
    let mut records = Records::of_installation(&installation).await;
    for token in [&bound, &own] {
        wait_for_notices(&mut records, token, &LATE).await;
    }
    server.set_policy(max_lifetime(&acme, 10 * DAY, Keep)).await;
    // The token's own expiry applies again; two of its warnings have been sent already.
    for (day, count) in [(78, 3), (84, 4), (85, 5)] {
        installation.clock().set_ahead(day * DAY + HOUR);
        wait_for_notices(&mut records, &own, &ALL[..count]).await;
    }
    assert_eq!(
        notices_of(&mut records, &bound).await,
        LATE,
        "the token no longer expires"
    );
    assert_eq!(
        records
            .count("SELECT count(*) FROM token_notices WHERE look_time IS NOT NULL")
            .await,
        0
    );
}

async fn every_token_of_many_gets_one_event(installation: Installation) {
    const TOKENS: i64 = 130;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for _ in 0..TOKENS {
        token_without_expiry(&server, &acme).await;
    }
    server.set_policy(max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR);
    let mut records = Records::of_installation(&installation).await;
    let ends = "SELECT count(DISTINCT resource) FROM audit_events WHERE type = 'token.expired'";
    eventually("every token has an event", async || {
        (records.count(ends).await == TOKENS).then_some(())
    })
    .await;
    let all = "SELECT count(*) FROM audit_events WHERE type IN ('token.expiring', 'token.expired')";
    assert_eq!(records.count(all).await, TOKENS, "each token has one event");
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
