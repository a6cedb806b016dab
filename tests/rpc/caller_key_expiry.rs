//! Before a caller key expires there are notices, and one once it has: each once, whichever servers run.

use std::time::Duration;

use tokend_client::v1::{
    AuditEvent, Caller, CreateCallerKeyRequest, DeleteCallerRequest, ErrorReason, GetCallerRequest, ListAuditEventsRequest,
    ListCallersRequest, RevokeCallerKeyRequest, Role,
};
use tokend_tests::{
    Installation, Process, Records, Refused, Server, StoredRecord, eventually, http, on_both_databases, on_postgres, question,
};
use tonic::Code;

on_both_databases!(
    each_notice_is_given_once_and_in_time,
    notices_due_before_a_key_was_made_are_skipped,
    a_key_that_was_revoked_or_deleted_has_no_notices,
    a_row_that_was_tampered_with_hides_no_other,
    a_call_with_an_expired_key_is_logged_with_its_caller,
    who_lists_callers_sees_until_when_their_keys_work,
);

mod replicas {
    use super::*;

    on_postgres!(of_two_servers_one_gives_each_notice);
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A key of a caller that is made for it.
struct Key {
    name: String,
    secret: String,
}

async fn key(server: &Server, caller: &str, ttl: Duration) -> Key {
    // The first key lasts as long as any; the test is about the second.
    let first = server.caller(caller, Role::Verifier).await.public;
    let ttl = prost_types::Duration { seconds: ttl.as_secs().cast_signed(), nanos: 0 };
    let request = CreateCallerKeyRequest { parent: format!("callers/{caller}"), ttl: Some(ttl) };
    let answer = server.admin().caller_admin().create_caller_key(request).await.expect("a key").into_inner();
    revoke(server, &first).await;
    Key { name: answer.key.expect("told").name, secret: answer.secret }
}

async fn revoke(server: &Server, key: &str) {
    let request = RevokeCallerKeyRequest { name: key.to_owned(), no_wait: true };
    server.admin().caller_admin().revoke_caller_key(request).await.expect("it is revoked");
}

/// The notices of a key, in order.
async fn notices(records: &mut Records, key: &str) -> Vec<String> {
    let notice = |record: StoredRecord| match record.kind.as_str() {
        "caller_key.expiring" => record.detail.split_once(" before it expires at ").map(|(days, _)| days.to_owned()),
        "caller_key.expired" => Some("expired".to_owned()),
        _ => None,
    };
    records.of("-").await.into_iter().filter(|record| record.resource == key).filter_map(notice).collect()
}

async fn wait_for(records: &mut Records, key: &str, expected: &[&str]) {
    eventually(&format!("the notices are {expected:?}"), async || (notices(records, key).await == expected).then_some(())).await;
}

/// Waits until a server has looked for what is due: until a key that is made for that has expired.
async fn looked(installation: &Installation, server: &Server, records: &mut Records, ahead: Duration) {
    let marker = key(server, &format!("m{}", ahead.as_secs()), HOUR / 60).await;
    installation.clock().set_ahead(ahead + HOUR / 60);
    wait_for(records, &marker.name, &["expired"]).await;
}

async fn each_notice_is_given_once_and_in_time(installation: Installation) {
    let mut server = installation.start().await;
    let gateway = key(&server, "gateway", 85 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    let mut expected = Vec::new();
    for (day, notice) in [(55, "30 days"), (78, "7 days"), (84, "1 day"), (85, "expired")] {
        let ahead = day * DAY - HOUR;
        installation.clock().set_ahead(ahead);
        looked(&installation, &server, &mut records, ahead).await;
        assert_eq!(notices(&mut records, &gateway.name).await, expected, "an hour before");
        installation.clock().set_ahead(day * DAY);
        expected.push(notice);
        wait_for(&mut records, &gateway.name, &expected).await;
        if day == 78 {
            // Another server knows what was given.
            let key = server.admin_key().to_owned();
            assert!(server.stop().await.status.success());
            server = installation.serve(&key).await;
        }
    }
    looked(&installation, &server, &mut records, 86 * DAY).await;
    assert_eq!(notices(&mut records, &gateway.name).await, expected, "and never again");

    let filter = format!("resource = {}", gateway.name);
    let request = ListAuditEventsRequest { parent: "-".to_owned(), filter, page_size: 4, ..Default::default() };
    let events = server.admin().audit_log().list_audit_events(request).await.expect("they are listed").into_inner().events;
    for event in &events {
        let AuditEvent { r#type, caller, actor, address, reason, detail, .. } = event;
        assert!(["caller_key.expiring", "caller_key.expired"].contains(&r#type.as_str()), "{event:?}");
        assert!(detail.contains("expire") && detail.ends_with('Z'), "{event:?}");
        assert_eq!([caller, actor, address, reason].map(String::as_str), [""; 4]);
    }
    let log = server.stop().await.stderr;
    assert!(log.contains("a caller key has expired") && log.contains(&gateway.name), "{log}");
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn notices_due_before_a_key_was_made_are_skipped(installation: Installation) {
    let server = installation.start().await;
    let short = key(&server, "short", 5 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    // All that no server could give in time is given late.
    assert!(server.stop().await.status.success());
    installation.clock().set_ahead(6 * DAY);
    let server = installation.serve("").await;
    wait_for(&mut records, &short.name, &["1 day", "expired"]).await;
    assert!(server.stop().await.status.success());
}

async fn a_key_that_was_revoked_or_deleted_has_no_notices(installation: Installation) {
    let server = installation.start().await;
    let (revoked, deleted) = (key(&server, "revoked", 5 * DAY).await, key(&server, "deleted", 5 * DAY).await);
    revoke(&server, &revoked.name).await;
    let mut records = Records::of_installation(&installation).await;
    let rows = "SELECT count(*) FROM caller_key_notices";
    let before = records.count(rows).await;
    let request = DeleteCallerRequest { name: "callers/deleted".to_owned(), no_wait: true };
    server.admin().caller_admin().delete_caller(request).await.expect("it is deleted");
    assert_eq!(records.count(rows).await, before - 2, "nothing is kept of its two keys");
    installation.clock().set_ahead(6 * DAY);
    looked(&installation, &server, &mut records, 6 * DAY).await;
    for key in [&revoked, &deleted] {
        assert!(notices(&mut records, &key.name).await.is_empty());
    }
}

async fn a_row_that_was_tampered_with_hides_no_other(installation: Installation) {
    let server = installation.start().await;
    let (edited, good) = (key(&server, "edited", 5 * DAY).await, key(&server, "good", 5 * DAY).await);
    installation.sql("UPDATE caller_keys SET expire_time = expire_time - 1 WHERE caller = 'edited' AND revoke_time IS NULL").await;
    installation.clock().set_ahead(6 * DAY);
    let mut records = Records::of_installation(&installation).await;
    wait_for(&mut records, &good.name, &["1 day", "expired"]).await;
    assert!(notices(&mut records, &edited.name).await.is_empty());
}

async fn of_two_servers_one_gives_each_notice(installation: Installation) {
    let server = installation.start().await;
    let second = installation.serve(server.admin_key()).await;
    let mut keys = Vec::new();
    for number in 0..8 {
        keys.push(key(&server, &format!("gateway-{number}"), 5 * DAY).await);
    }
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(4 * DAY + HOUR);
    for key in &keys {
        wait_for(&mut records, &key.name, &["1 day"]).await;
    }
    installation.clock().set_ahead(5 * DAY + HOUR);
    looked(&installation, &server, &mut records, 5 * DAY + HOUR).await;
    looked(&installation, &second, &mut records, 5 * DAY + 2 * HOUR).await;
    for key in &keys {
        assert_eq!(notices(&mut records, &key.name).await, ["1 day", "expired"]);
    }
}

async fn a_call_with_an_expired_key_is_logged_with_its_caller(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let gateway = key(&server, "gateway", HOUR).await;
    installation.clock().set_ahead(2 * HOUR);
    let client = server.client(&gateway.secret).await;
    for _ in 0..20 {
        let answer = client.token_verify().verify(question("", &acme, &[])).await;
        answer.refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
    }
    let log = server.stop().await.stderr;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("a caller called with a key that has expired")).collect();
    assert!((1..10).contains(&lines.len()), "some of them, not all: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("callers/gateway") && line.contains(&gateway.name)), "{lines:#?}");
    assert!(!log.contains(&gateway.secret[24..]));
}

async fn who_lists_callers_sees_until_when_their_keys_work(installation: Installation) {
    let server = installation.start().await;
    let gateway = key(&server, "gateway", HOUR).await;
    let listed = async || {
        let answer = server.admin().caller_admin().list_callers(ListCallersRequest::default()).await.expect("they are listed");
        let callers = answer.into_inner().callers;
        callers.into_iter().find(|caller| caller.name == "callers/gateway").expect("it is there")
    };
    let shown = async || {
        let request = GetCallerRequest { name: "callers/gateway".to_owned() };
        server.admin().caller_admin().get_caller(request).await.expect("it is there").into_inner().caller.expect("told")
    };
    let end = |caller: Caller| caller.keys_expire_time.map(|time| time.seconds);
    let first = end(listed().await).expect("a key works");
    assert_eq!(Some(first), end(shown().await));
    let metric = async || {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let value = metrics.lines().find_map(|line| line.strip_prefix("tokend_caller_key_expire_time_seconds "))?;
        value.parse::<f64>().ok().filter(|value| *value > 0.0)
    };
    // The second key lasts longer than the first.
    let ttl = Some(prost_types::Duration { seconds: 7_200, nanos: 0 });
    let request = CreateCallerKeyRequest { parent: "callers/gateway".to_owned(), ttl };
    let second = server.admin().caller_admin().create_caller_key(request).await.expect("a key").into_inner().key.expect("told");
    let last = second.expire_time.expect("it expires").seconds;
    assert_eq!((end(listed().await), end(shown().await)), (Some(last), Some(last)));
    installation.clock().set_ahead(HOUR / 30);
    let next = async || metric().await.filter(|value| (value - first as f64).abs() < 1.5);
    eventually("the metric shows the key that expires next", next).await;

    let mut command = installation.command(["caller", "list"]);
    command.env("TOKEND_ADDRESS", server.grpc_address()).env("TOKEND_CALLER_KEY", server.admin_key());
    let table = Process::spawn(command, "").finish().await.succeeded();
    assert!(table.lines().next().expect("a header").ends_with("KEYS EXPIRE"), "{table}");
    for key in [&gateway.name, &second.name] {
        revoke(&server, key).await;
    }
    assert_eq!((end(listed().await), end(shown().await)), (None, None));
}
