//! Before a token ends it is told of, and once it has ended: each notice once, whichever servers run, and however they end.

use std::time::Duration;

use tokend_client::v1::{
    AuditEvent, CreateTokenRequest, ListAuditEventsRequest, RotateTokenRequest, Token, create_token_request::Expiry,
};
use tokend_core::time::Timestamp;
use tokend_tests::{
    Installation, Records, Server, StoredRecord, after, eventually, http, on_both_databases, on_postgres, token_in,
};

on_both_databases!(
    each_notice_is_told_once_and_in_time,
    what_is_late_is_told_when_a_server_runs_again,
    what_was_due_before_it_was_made_is_skipped,
    nothing_is_told_of_what_has_no_end_or_was_ended,
    a_suspended_workspace_is_told_of_its_tokens,
    a_predecessor_is_not_warned_of,
    many_ends_at_once_are_all_told,
    a_row_that_was_tampered_with_hides_no_other,
    what_was_told_outlives_a_crash,
);

mod replicas {
    use super::*;

    on_postgres!(of_two_servers_one_tells);
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// Makes a token that ends after `span`.
async fn lasting(server: &Server, workspace: &str, span: Duration) -> Token {
    server.token(CreateTokenRequest { expiry: after(span), ..token_in(workspace) }).await.public
}

/// What was told of a token's end, in order: `days` before it, or its end as 0.
async fn told(records: &mut Records, token: &Token) -> Vec<String> {
    let notice = |record: StoredRecord| match record.kind.as_str() {
        "token.expiring" => record.detail.split_once(" before its end at ").map(|(days, _)| days.to_owned()),
        "token.expired" => Some("ended".to_owned()),
        _ => None,
    };
    let of_token = records.all().await.into_iter().filter(|record| record.resource == token.name);
    of_token.filter_map(notice).collect()
}

/// Waits until a server has looked for what is due: until the end of a token that is made for that is told.
async fn looked(installation: &Installation, server: &Server, records: &mut Records, ahead: Duration) {
    let marker = lasting(server, &server.workspace(&format!("m{}", ahead.as_secs())).await, MINUTE).await;
    installation.clock().set_ahead(ahead + MINUTE);
    eventually("a server looks", async || (told(records, &marker).await == ["ended"]).then_some(())).await;
}

fn end_of(token: &Token) -> Timestamp {
    let end = token.expire_time.expect("it ends");
    Timestamp::from_unix_seconds(end.seconds, end.nanos.unsigned_abs()).expect("a time")
}

async fn each_notice_is_told_once_and_in_time(installation: Installation) {
    let mut server = installation.start().await;
    let acme = server.workspace("acme").await;
    // As long as a caller's key lasts.
    let token = lasting(&server, &acme, 88 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    let mut expected: Vec<String> = Vec::new();
    for (day, notice) in [(28, "60 days"), (58, "30 days"), (81, "7 days"), (87, "1 day"), (88, "ended")] {
        let ahead = day * DAY - HOUR;
        installation.clock().set_ahead(ahead);
        looked(&installation, &server, &mut records, ahead).await;
        assert_eq!(told(&mut records, &token).await, expected, "an hour before");

        installation.clock().set_ahead(day * DAY);
        expected.push(notice.to_owned());
        eventually("it is told", async || (told(&mut records, &token).await == expected).then_some(())).await;
        if day == 58 {
            // It knows what another one has told.
            let key = server.admin_key().to_owned();
            assert!(server.stop().await.status.success());
            server = installation.serve(&key).await;
        }
    }
    looked(&installation, &server, &mut records, 89 * DAY).await;
    assert_eq!(told(&mut records, &token).await, expected, "and never again");

    let request = ListAuditEventsRequest { parent: acme.clone(), page_size: 5, ..Default::default() };
    let events = server.admin().audit_log().list_audit_events(request).await.expect("they are told").into_inner().events;
    let end = end_of(&token);
    let wanted = ["60 days before its", "30 days before its", "7 days before its", "1 day before its", "ended"];
    for (event, wanted) in events.iter().rev().zip(wanted) {
        let AuditEvent { r#type, caller, actor, address, resource, reason, detail, .. } = event;
        let is_end = wanted == "ended";
        assert_eq!(r#type, if is_end { "token.expired" } else { "token.expiring" });
        assert_eq!(*detail, format!("{wanted}{} at {end}", if is_end { "" } else { " end" }));
        assert_eq!((resource, [caller, actor, address, reason].map(String::as_str)), (&token.name, [""; 4]));
    }
    let metrics = http::get(server.ops_address(), "/metrics").1;
    // Since the restart: two warnings and its end, and the ends of the tokens that were made to wait for.
    for line in ["tokend_expiry_notices_total{kind=\"warning\"} 2", "tokend_expiry_notices_total{kind=\"end\"} 5"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn what_is_late_is_told_when_a_server_runs_again(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (warned, ended) = (lasting(&server, &acme, 100 * DAY).await, lasting(&server, &acme, 20 * DAY).await);
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());
    installation.clock().set_ahead(95 * DAY);
    let _server = installation.serve(&key).await;
    let mut records = Records::of_installation(&installation).await;
    for (token, notices) in [(warned, vec!["60 days", "30 days", "7 days"]), (ended, vec!["7 days", "1 day", "ended"])] {
        eventually("it is told", async || (told(&mut records, &token).await == notices).then_some(())).await;
    }
}

async fn what_was_due_before_it_was_made_is_skipped(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut records = Records::of_installation(&installation).await;
    let mut tokens = Vec::new();
    for (lifetime, notices) in [
        (HOUR, vec!["ended"]),
        (DAY, vec!["ended"]),
        (DAY + HOUR, vec!["1 day", "ended"]),
        (30 * DAY, vec!["7 days", "1 day", "ended"]),
        (61 * DAY, vec!["60 days", "30 days", "7 days", "1 day", "ended"]),
    ] {
        tokens.push((lasting(&server, &acme, lifetime).await, notices));
    }
    installation.clock().set_ahead(61 * DAY);
    for (token, notices) in tokens {
        eventually("it is told", async || (told(&mut records, &token).await == notices).then_some(())).await;
    }
}

async fn nothing_is_told_of_what_has_no_end_or_was_ended(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let request = CreateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..token_in(&acme) };
    let endless = server.token(request).await.public;
    let revoked = lasting(&server, &acme, 50 * DAY).await;
    server.revoke(&revoked.name).await;
    let of_deleted = lasting(&server, &globex, 50 * DAY).await;
    server.delete_workspace(&globex).await;
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(60 * DAY);
    looked(&installation, &server, &mut records, 60 * DAY).await;
    for token in [endless, revoked, of_deleted] {
        assert_eq!(told(&mut records, &token).await, [""; 0], "{}", token.name);
    }
    // None of them is looked at again and again.
    assert_eq!(records.count("SELECT count(*) FROM token_notices WHERE look_time IS NOT NULL").await, 0);
}

async fn a_suspended_workspace_is_told_of_its_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = lasting(&server, &acme, 10 * DAY).await;
    server.suspend(&acme).await;
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(10 * DAY);
    let notices = ["7 days", "1 day", "ended"];
    eventually("it is told", async || (told(&mut records, &token).await == notices).then_some(())).await;
}

async fn a_predecessor_is_not_warned_of(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = lasting(&server, &acme, 90 * DAY).await;
    let overlap = Some((30 * DAY).try_into().expect("a span"));
    let rotate = RotateTokenRequest { name: old.name.clone(), overlap, ..Default::default() };
    let rotated = server.admin().token_admin().rotate_token(rotate).await.expect("it is rotated").into_inner();
    let new = rotated.token.expect("told");
    let mut records = Records::of_installation(&installation).await;

    // By the overlap, and not by the end that was asked for.
    installation.clock().set_ahead(30 * DAY);
    eventually("its end is told", async || (told(&mut records, &old).await == ["ended"]).then_some(())).await;
    eventually("the new one is warned of", async || (told(&mut records, &new).await == ["60 days"]).then_some(())).await;
    looked(&installation, &server, &mut records, 100 * DAY).await;
    assert_eq!(told(&mut records, &old).await, ["ended"]);
}

async fn many_ends_at_once_are_all_told(installation: Installation) {
    const TOKENS: usize = 120;
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    for number in 0..TOKENS {
        lasting(&server, if number % 3 == 0 { &globex } else { &acme }, HOUR).await;
    }
    installation.clock().set_ahead(HOUR);
    let mut records = Records::of_installation(&installation).await;
    let ends = "SELECT count(*) FROM audit_events WHERE type = 'token.expired'";
    eventually("all are told", async || (records.count(ends).await == TOKENS as i64).then_some(())).await;
    let of_one = "SELECT count(DISTINCT resource) FROM audit_events WHERE type = 'token.expired'";
    assert_eq!(records.count(of_one).await, TOKENS as i64, "each once");
}

async fn a_row_that_was_tampered_with_hides_no_other(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let edited = lasting(&server, &acme, HOUR).await;
    let (neighbour, foreign) = (lasting(&server, &acme, HOUR).await, lasting(&server, &globex, HOUR).await);
    let lost = server.workspace("initech").await;
    lasting(&server, &lost, HOUR).await;
    // They are looked at first.
    for edit in [
        "UPDATE tokens SET resource = 'workspaces/acme/x' WHERE create_time = (SELECT min(create_time) FROM tokens)",
        "UPDATE audit_chains SET mac = hash WHERE chain = 'initech'",
    ] {
        assert_eq!(installation.sql(edit).await, 1);
    }
    installation.clock().set_ahead(HOUR);
    let mut records = Records::of_installation(&installation).await;
    for token in [neighbour, foreign] {
        eventually("it is told", async || (told(&mut records, &token).await == ["ended"]).then_some(())).await;
    }
    assert_eq!(told(&mut records, &edited).await, [""; 0]);
    assert_eq!(records.of("initech").await.len(), 2, "nothing goes on behind a head that was edited");
}

async fn what_was_told_outlives_a_crash(installation: Installation) {
    let mut server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(lasting(&server, &acme, 40 * DAY).await);
    }
    let mut records = Records::of_installation(&installation).await;
    let key = server.admin_key().to_owned();
    for day in [10, 33, 39, 40] {
        installation.clock().set_ahead(day * DAY);
        // In the middle of it, or before, or behind.
        eventually("something is told", async || {
            let last = told(&mut records, &tokens[0]).await;
            (!last.is_empty()).then_some(())
        })
        .await;
        server.kill();
        server = installation.serve(&key).await;
    }
    for token in tokens {
        let notices = ["30 days", "7 days", "1 day", "ended"];
        eventually("all is told", async || (told(&mut records, &token).await == notices).then_some(())).await;
    }
    server.kill();
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn of_two_servers_one_tells(installation: Installation) {
    const TOKENS: i64 = 150;
    let one = installation.start().await;
    let other = installation.serve(one.admin_key()).await;
    let acme = one.workspace("acme").await;
    for _ in 0..TOKENS {
        lasting(&one, &acme, 2 * DAY).await;
    }
    let mut records = Records::of_installation(&installation).await;
    let mut expected = 0;
    for (ahead, kind) in [(DAY, "token.expiring"), (2 * DAY, "token.expired")] {
        installation.clock().set_ahead(ahead);
        expected += TOKENS;
        let all = "SELECT count(*) FROM audit_events WHERE type IN ('token.expiring', 'token.expired')";
        eventually("all are told", async || (records.count(all).await >= expected).then_some(())).await;
        let of_one = format!("SELECT count(DISTINCT resource) FROM audit_events WHERE type = '{kind}'");
        assert_eq!(records.count(&of_one).await, TOKENS);
    }
    looked(&installation, &other, &mut records, 3 * DAY).await;
    let of_acme = records.of("acme").await.len() as i64;
    assert_eq!(of_acme, 1 + TOKENS + expected, "each once");
    for server in [one, other] {
        assert!(server.stop().await.status.success());
    }
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
