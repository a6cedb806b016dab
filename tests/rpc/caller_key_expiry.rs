//! The servers record notices before a caller key expires and one when it has expired. Each notice is recorded once,
//! no matter how many servers run.

use std::time::Duration;

use tokend_client::v1::{
    AuditEvent, Caller, CreateCallerKeyRequest, DeleteCallerRequest, ErrorReason, GetCallerRequest,
    ListAuditEventsRequest, ListCallersRequest, RevokeCallerKeyRequest, Role,
};
use tokend_tests::{
    Installation, Process, Records, Refused, Server, StoredRecord, eventually, http, on_both_databases, on_postgres,
    question,
};
use tonic::Code;

on_both_databases!(
    each_notice_is_recorded_once_and_on_time,
    notices_due_before_a_key_was_created_are_skipped,
    a_revoked_or_deleted_key_has_no_notices,
    a_tampered_row_does_not_hide_others,
    a_call_with_an_expired_key_is_logged_with_its_caller,
    listed_callers_show_when_their_keys_expire,
);

mod replicas {
    use super::*;

    on_postgres!(only_one_of_two_servers_records_each_notice);
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A caller key. Its caller is created for it.
struct Key {
    name: String,
    secret: String,
}

async fn key(server: &Server, caller: &str, ttl: Duration) -> Key {
    // The caller's first key has the default lifetime. The test needs one with `ttl`.
    let first = server.caller(caller, Role::Verifier).await.public;
    let ttl = prost_types::Duration {
        seconds: ttl.as_secs().cast_signed(),
        nanos: 0,
    };
    let request = CreateCallerKeyRequest {
        parent: format!("callers/{caller}"),
        ttl: Some(ttl),
    };
    let answer = server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    revoke(server, &first).await;
    Key {
        name: answer.key.expect("`key` is set").name,
        secret: answer.secret,
    }
}

async fn revoke(server: &Server, key: &str) {
    let request = RevokeCallerKeyRequest {
        name: key.to_owned(),
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(request)
        .await
        .expect("RevokeCallerKey succeeds");
}

/// Returns the notices of a key, in order.
async fn notices(records: &mut Records, key: &str) -> Vec<String> {
    let notice = |record: StoredRecord| match record.kind.as_str() {
        "caller_key.expiring" => record
            .detail
            .split_once(" before it expires at ")
            .map(|(days, _)| days.to_owned()),
        "caller_key.expired" => Some("expired".to_owned()),
        _ => None,
    };
    records
        .of("-")
        .await
        .into_iter()
        .filter(|record| record.resource == key)
        .filter_map(notice)
        .collect()
}

async fn wait_for(records: &mut Records, key: &str, expected: &[&str]) {
    eventually(&format!("the notices are {expected:?}"), async || {
        (notices(records, key).await == expected).then_some(())
    })
    .await;
}

/// Waits until a server has scanned for due notices: creates a key and waits for the notice that it has expired.
async fn wait_for_scan(installation: &Installation, server: &Server, records: &mut Records, ahead: Duration) {
    let marker = key(server, &format!("m{}", ahead.as_secs()), HOUR / 60).await;
    installation.clock().set_ahead(ahead + HOUR / 60);
    wait_for(records, &marker.name, &["expired"]).await;
}

async fn each_notice_is_recorded_once_and_on_time(installation: Installation) {
    let mut server = installation.start().await;
    let gateway = key(&server, "gateway", 85 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    let mut expected = Vec::new();
    for (day, notice) in [(55, "30 days"), (78, "7 days"), (84, "1 day"), (85, "expired")] {
        let ahead = day * DAY - HOUR;
        installation.clock().set_ahead(ahead);
        wait_for_scan(&installation, &server, &mut records, ahead).await;
        assert_eq!(notices(&mut records, &gateway.name).await, expected, "an hour before");
        installation.clock().set_ahead(day * DAY);
        expected.push(notice);
        wait_for(&mut records, &gateway.name, &expected).await;
        if day == 78 {
            // A restarted server does not repeat the recorded notices.
            let key = server.admin_key().to_owned();
            assert!(server.stop().await.status.success());
            server = installation.serve(&key).await;
        }
    }
    wait_for_scan(&installation, &server, &mut records, 86 * DAY).await;
    assert_eq!(notices(&mut records, &gateway.name).await, expected, "and never again");

    let filter = format!("resource = {}", gateway.name);
    let request = ListAuditEventsRequest {
        parent: "-".to_owned(),
        filter,
        page_size: 4,
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
    for event in &events {
        let AuditEvent {
            r#type,
            caller,
            actor,
            address,
            reason,
            detail,
            ..
        } = event;
        assert!(
            ["caller_key.expiring", "caller_key.expired"].contains(&r#type.as_str()),
            "{event:?}"
        );
        assert!(detail.contains("expire") && detail.ends_with('Z'), "{event:?}");
        assert_eq!([caller, actor, address, reason].map(String::as_str), [""; 4]);
    }
    let log = server.stop().await.stderr;
    assert!(
        log.contains("a caller key has expired") && log.contains(&gateway.name),
        "{log}"
    );
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn notices_due_before_a_key_was_created_are_skipped(installation: Installation) {
    let server = installation.start().await;
    let short = key(&server, "short", 5 * DAY).await;
    let mut records = Records::of_installation(&installation).await;
    // Notices that became due while no server ran are recorded late.
    assert!(server.stop().await.status.success());
    installation.clock().set_ahead(6 * DAY);
    let server = installation.serve("").await;
    wait_for(&mut records, &short.name, &["1 day", "expired"]).await;
    assert!(server.stop().await.status.success());
}

async fn a_revoked_or_deleted_key_has_no_notices(installation: Installation) {
    let server = installation.start().await;
    let (revoked, deleted) = (
        key(&server, "revoked", 5 * DAY).await,
        key(&server, "deleted", 5 * DAY).await,
    );
    revoke(&server, &revoked.name).await;
    let mut records = Records::of_installation(&installation).await;
    let rows = "SELECT count(*) FROM caller_key_notices";
    let before = records.count(rows).await;
    let request = DeleteCallerRequest {
        name: "callers/deleted".to_owned(),
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .delete_caller(request)
        .await
        .expect("DeleteCaller succeeds");
    assert_eq!(
        records.count(rows).await,
        before - 2,
        "the rows of its two keys are deleted"
    );
    installation.clock().set_ahead(6 * DAY);
    wait_for_scan(&installation, &server, &mut records, 6 * DAY).await;
    for key in [&revoked, &deleted] {
        assert!(notices(&mut records, &key.name).await.is_empty());
    }
}

async fn a_tampered_row_does_not_hide_others(installation: Installation) {
    let server = installation.start().await;
    let (edited, good) = (
        key(&server, "edited", 5 * DAY).await,
        key(&server, "good", 5 * DAY).await,
    );
    installation
        .sql("UPDATE caller_keys SET expire_time = expire_time - 1 WHERE caller = 'edited' AND revoke_time IS NULL")
        .await;
    installation.clock().set_ahead(6 * DAY);
    let mut records = Records::of_installation(&installation).await;
    wait_for(&mut records, &good.name, &["1 day", "expired"]).await;
    assert!(notices(&mut records, &edited.name).await.is_empty());
}

async fn only_one_of_two_servers_records_each_notice(installation: Installation) {
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
    wait_for_scan(&installation, &server, &mut records, 5 * DAY + HOUR).await;
    wait_for_scan(&installation, &second, &mut records, 5 * DAY + 2 * HOUR).await;
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
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a caller used an expired key"))
        .collect();
    assert!((1..10).contains(&lines.len()), "some of them, not all: {lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains("callers/gateway") && line.contains(&gateway.name)),
        "{lines:#?}"
    );
    assert!(!log.contains(&gateway.secret[24..]));
}

async fn listed_callers_show_when_their_keys_expire(installation: Installation) {
    let server = installation.start().await;
    let gateway = key(&server, "gateway", HOUR).await;
    let listed = async || {
        let answer = server
            .admin()
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await
            .expect("ListCallers succeeds");
        let callers = answer.into_inner().callers;
        callers
            .into_iter()
            .find(|caller| caller.name == "callers/gateway")
            .expect("the caller is listed")
    };
    let shown = async || {
        let request = GetCallerRequest {
            name: "callers/gateway".to_owned(),
        };
        server
            .admin()
            .caller_admin()
            .get_caller(request)
            .await
            .expect("GetCaller succeeds")
            .into_inner()
            .caller
            .expect("`caller` is set")
    };
    let keys_expire = |caller: Caller| caller.keys_expire_time.map(|time| time.seconds);
    let first = keys_expire(listed().await).expect("the caller has an active key");
    assert_eq!(Some(first), keys_expire(shown().await));
    let metric = async || {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix("tokend_caller_key_expire_time_seconds "))?;
        value.parse::<f64>().ok().filter(|value| *value > 0.0)
    };
    // The second key expires after the first.
    let ttl = Some(prost_types::Duration {
        seconds: 7_200,
        nanos: 0,
    });
    let request = CreateCallerKeyRequest {
        parent: "callers/gateway".to_owned(),
        ttl,
    };
    let second = server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner()
        .key
        .expect("`key` is set");
    let last = second.expire_time.expect("`expire_time` is set").seconds;
    assert_eq!(
        (keys_expire(listed().await), keys_expire(shown().await)),
        (Some(last), Some(last))
    );
    installation.clock().set_ahead(HOUR / 30);
    let next = async || metric().await.filter(|value| (value - first as f64).abs() < 1.5);
    eventually("the metric shows the key that expires next", next).await;

    let mut command = installation.command(["caller", "list"]);
    command
        .env("TOKEND_ADDRESS", server.grpc_address())
        .env("TOKEND_CALLER_KEY", server.admin_key());
    let table = Process::spawn(command, "").finish().await.succeeded();
    assert!(
        table
            .lines()
            .next()
            .expect("the table has a header")
            .ends_with("KEYS EXPIRE"),
        "{table}"
    );
    for key in [&gateway.name, &second.name] {
        revoke(&server, key).await;
    }
    assert_eq!((keys_expire(listed().await), keys_expire(shown().await)), (None, None));
}
