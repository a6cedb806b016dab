//! The servers record notices before a token expires and one when it has expired. Each notice is recorded once, no
//! matter how many servers run or how they stop.

use std::time::Duration;

use tokend_client::v1::{AuditEvent, CreateTokenRequest, ListAuditEventsRequest, Token};
use tokend_core::time::Timestamp;
use tokend_tests::{
    Installation, Records, Server, StoredRecord, after, eventually, http, on_both_databases, on_postgres, token_in,
};

on_both_databases!(
    each_notice_is_recorded_once_and_on_time,
    late_notices_are_recorded_when_a_server_restarts,
    a_suspended_workspace_gets_notices,
    many_simultaneous_expiries_are_all_recorded,
    a_tampered_row_does_not_hide_others,
    recorded_notices_survive_a_crash,
);

mod replicas {
    use super::*;

    on_postgres!(only_one_of_two_servers_records_each_notice);
}

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

const MINUTE: Duration = Duration::from_secs(60);

/// Creates a token that expires after `span`.
pub(crate) async fn token_lasting(server: &Server, workspace: &str, span: Duration) -> Token {
    server
        .token(CreateTokenRequest {
            expiry: after(span),
            ..token_in(workspace)
        })
        .await
        .public
}

/// Returns the notices of a token's expiry, in order: the time before it, or `ended`.
pub(crate) async fn notices_of(records: &mut Records, token: &Token) -> Vec<String> {
    let notice = |record: StoredRecord| match record.kind.as_str() {
        "token.expiring" => record
            .detail
            .split_once(" before its end at ")
            .map(|(days, _)| days.to_owned()),
        "token.expired" => Some("ended".to_owned()),
        _ => None,
    };
    let of_token = records
        .all()
        .await
        .into_iter()
        .filter(|record| record.resource == token.name);
    of_token.filter_map(notice).collect()
}

/// Waits until a server has scanned for due notices: creates a token and waits for the notice that it has expired.
pub(crate) async fn wait_for_scan(
    installation: &Installation,
    server: &Server,
    records: &mut Records,
    ahead: Duration,
) {
    let marker = token_lasting(
        server,
        &server.workspace(&format!("m{}", ahead.as_secs())).await,
        MINUTE,
    )
    .await;
    installation.clock().set_ahead(ahead + MINUTE);
    eventually("a server scans for due notices", async || {
        (notices_of(records, &marker).await == ["ended"]).then_some(())
    })
    .await;
}

fn expire_time_of(token: &Token) -> Timestamp {
    let end = token.expire_time.expect("`expire_time` is set");
    Timestamp::from_unix_seconds(end.seconds, end.nanos.unsigned_abs()).expect("the timestamp is valid")
}

async fn each_notice_is_recorded_once_and_on_time(installation: Installation) {
    let mut server = installation.start().await;
    let acme = server.workspace("acme").await;
    // The lifetime is less than that of the caller key, which must not expire during the test.
    let token = token_lasting(&server, &acme, 88 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    let mut expected: Vec<String> = Vec::new();
    for (day, notice) in [
        (28, "60 days"),
        (58, "30 days"),
        (81, "7 days"),
        (87, "1 day"),
        (88, "ended"),
    ] {
        let ahead = day * DAY - HOUR;
        installation.clock().set_ahead(ahead);
        wait_for_scan(&installation, &server, &mut records, ahead).await;
        assert_eq!(notices_of(&mut records, &token).await, expected, "an hour before");

        installation.clock().set_ahead(day * DAY);
        expected.push(notice.to_owned());
        eventually("the notice is recorded", async || {
            (notices_of(&mut records, &token).await == expected).then_some(())
        })
        .await;
        if day == 58 {
            // A restarted server does not repeat the recorded notices.
            let key = server.admin_key().to_owned();
            assert!(server.stop().await.status.success());
            server = installation.serve(&key).await;
        }
    }
    wait_for_scan(&installation, &server, &mut records, 89 * DAY).await;
    assert_eq!(notices_of(&mut records, &token).await, expected, "and never again");

    let request = ListAuditEventsRequest {
        parent: acme.clone(),
        page_size: 5,
        ..Default::default()
    };
    let events = server
        .admin()
        .audit_log()
        .list_audit_events(request)
        .await
        .expect("ListAuditEvents succeeds")
        .into_inner()
        .events;
    let expire_time = expire_time_of(&token);
    let expected_notices = [
        "60 days before its",
        "30 days before its",
        "7 days before its",
        "1 day before its",
        "ended",
    ];
    for (event, expected_notice) in events.iter().rev().zip(expected_notices) {
        let AuditEvent {
            r#type,
            caller,
            actor,
            address,
            resource,
            reason,
            detail,
            ..
        } = event;
        let is_expiry = expected_notice == "ended";
        assert_eq!(r#type, if is_expiry { "token.expired" } else { "token.expiring" });
        assert_eq!(
            *detail,
            format!(
                "{expected_notice}{} at {expire_time}",
                if is_expiry { "" } else { " end" }
            )
        );
        assert_eq!(
            (resource, [caller, actor, address, reason].map(String::as_str)),
            (&token.name, [""; 4])
        );
    }
    let metrics = http::get(server.ops_address(), "/metrics").1;
    // The server counts since the restart: two warnings, the token's expiry, and those of the `wait_for_scan` tokens.
    for line in [
        "tokend_expiry_notices_total{kind=\"warning\"} 2",
        "tokend_expiry_notices_total{kind=\"end\"} 5",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn late_notices_are_recorded_when_a_server_restarts(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (expiring, expired) = (
        token_lasting(&server, &acme, 100 * DAY).await,
        token_lasting(&server, &acme, 20 * DAY).await,
    );
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());
    installation.clock().set_ahead(95 * DAY);
    let _server = installation.serve(&key).await;
    let mut records = Records::of_installation(&installation).await;
    for (token, notices) in [
        (expiring, vec!["60 days", "30 days", "7 days"]),
        (expired, vec!["7 days", "1 day", "ended"]),
    ] {
        eventually("the notice is recorded", async || {
            (notices_of(&mut records, &token).await == notices).then_some(())
        })
        .await;
    }
}

async fn a_suspended_workspace_gets_notices(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = token_lasting(&server, &acme, 10 * DAY).await;
    server.suspend(&acme).await;
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(10 * DAY);
    let notices = ["7 days", "1 day", "ended"];
    eventually("the notice is recorded", async || {
        (notices_of(&mut records, &token).await == notices).then_some(())
    })
    .await;
}

async fn many_simultaneous_expiries_are_all_recorded(installation: Installation) {
    const TOKENS: usize = 120;
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    for number in 0..TOKENS {
        token_lasting(&server, if number % 3 == 0 { &globex } else { &acme }, HOUR).await;
    }
    installation.clock().set_ahead(HOUR);
    let mut records = Records::of_installation(&installation).await;
    let expired = "SELECT count(*) FROM audit_events WHERE type = 'token.expired'";
    eventually("all notices are recorded", async || {
        (records.count(expired).await == TOKENS as i64).then_some(())
    })
    .await;
    let of_one = "SELECT count(DISTINCT resource) FROM audit_events WHERE type = 'token.expired'";
    assert_eq!(records.count(of_one).await, TOKENS as i64, "each once");
}

async fn a_tampered_row_does_not_hide_others(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let edited = token_lasting(&server, &acme, HOUR).await;
    let (neighbour, foreign) = (
        token_lasting(&server, &acme, HOUR).await,
        token_lasting(&server, &globex, HOUR).await,
    );
    let edited_chain = server.workspace("initech").await;
    token_lasting(&server, &edited_chain, HOUR).await;
    // The server scans the tampered rows first.
    for edit in [
        "UPDATE tokens SET resource = 'workspaces/acme/x' WHERE create_time = (SELECT min(create_time) FROM tokens)",
        "UPDATE audit_chains SET mac = hash WHERE chain = 'initech'",
    ] {
        assert_eq!(installation.sql(edit).await, 1);
    }
    installation.clock().set_ahead(HOUR);
    let mut records = Records::of_installation(&installation).await;
    for token in [neighbour, foreign] {
        eventually("the notice is recorded", async || {
            (notices_of(&mut records, &token).await == ["ended"]).then_some(())
        })
        .await;
    }
    assert_eq!(notices_of(&mut records, &edited).await, [""; 0]);
    assert_eq!(
        records.of("initech").await.len(),
        2,
        "no record is added to a chain whose head was edited"
    );
}

async fn recorded_notices_survive_a_crash(installation: Installation) {
    let mut server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(token_lasting(&server, &acme, 40 * DAY).await);
    }
    let mut records = Records::of_installation(&installation).await;
    let key = server.admin_key().to_owned();
    for day in [10, 33, 39, 40] {
        installation.clock().set_ahead(day * DAY);
        // The kill can come before, during or after the recording of the notices.
        eventually("a notice is recorded", async || {
            let last = notices_of(&mut records, &tokens[0]).await;
            (!last.is_empty()).then_some(())
        })
        .await;
        server.kill();
        server = installation.serve(&key).await;
    }
    for token in tokens {
        let notices = ["30 days", "7 days", "1 day", "ended"];
        eventually("all notices are recorded", async || {
            (notices_of(&mut records, &token).await == notices).then_some(())
        })
        .await;
    }
    server.kill();
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn only_one_of_two_servers_records_each_notice(installation: Installation) {
    const TOKENS: i64 = 150;
    let one = installation.start().await;
    let other = installation.serve(one.admin_key()).await;
    let acme = one.workspace("acme").await;
    for _ in 0..TOKENS {
        token_lasting(&one, &acme, 2 * DAY).await;
    }
    let mut records = Records::of_installation(&installation).await;
    let mut expected = 0;
    for (ahead, kind) in [(DAY, "token.expiring"), (2 * DAY, "token.expired")] {
        installation.clock().set_ahead(ahead);
        expected += TOKENS;
        let all = "SELECT count(*) FROM audit_events WHERE type IN ('token.expiring', 'token.expired')";
        eventually("all notices are recorded", async || {
            (records.count(all).await >= expected).then_some(())
        })
        .await;
        let of_one = format!("SELECT count(DISTINCT resource) FROM audit_events WHERE type = '{kind}'");
        assert_eq!(records.count(&of_one).await, TOKENS);
    }
    wait_for_scan(&installation, &other, &mut records, 3 * DAY).await;
    let of_acme = records.of("acme").await.len() as i64;
    assert_eq!(of_acme, 1 + TOKENS + expected, "each once");
    for server in [one, other] {
        assert!(server.stop().await.status.success());
    }
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}
