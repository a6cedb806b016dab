//! The log of a server at `debug`: a span and a line for each request, without arguments and secrets.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::Value;
use tokend_client::v1::{CreateTokenRequest, GetTokenRequest, WatchAuditEventsRequest};
use tokend_tests::{Installation, Server, eventually, on_sqlite, question, raw, token_in};
use tonic_types::StatusExt;

on_sqlite!(
    each_request_has_a_line_with_its_caller_and_method,
    a_denied_verdict_is_logged_with_its_reason_and_without_the_token,
    a_stream_is_logged_when_it_ends,
    the_line_of_a_request_has_the_id_of_its_fault,
    no_argument_and_no_secret_is_in_the_log,
    requests_are_not_logged_at_info,
);

/// Texts that occur only in request arguments.
const ARGUMENTS: [&str; 3] = ["canary-name", "canary-description", "canary-label"];

async fn start_at(installation: &Installation, level: &str) -> Server {
    installation.start_with(["--log", level, "--log-format", "json"]).await
}

fn token_with_arguments(workspace: &str) -> CreateTokenRequest {
    let [display_name, description, label] = ARGUMENTS.map(str::to_owned);
    CreateTokenRequest {
        display_name,
        description,
        labels: [(label.clone(), label)].into(),
        ..token_in(workspace)
    }
}

/// Returns the log lines with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["fields"]["message"] == message)
        .collect()
}

/// Returns the spans of the finished requests in the log.
fn finished(log: &str) -> Vec<Value> {
    let spans = lines(log, "request finished")
        .into_iter()
        .map(|line| line["span"].clone());
    spans.collect()
}

/// Returns the span of the only request that called this method.
fn request(log: &str, method: &str) -> Value {
    let mut spans = finished(log);
    spans.retain(|span| span["operation"] == format!("tokend.v1.{method}"));
    assert_eq!(spans.len(), 1, "one request to {method} in\n{log}");
    spans.remove(0)
}

async fn each_request_has_a_line_with_its_caller_and_method(installation: Installation) {
    let server = start_at(&installation, "debug").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.verdict(question(&token.secret, &acme, &[])).await;
    let request_of_another = GetTokenRequest {
        name: format!("{acme}/tokens/{}", "0".repeat(17)),
    };
    let answer = server.admin().token_admin().get_token(request_of_another).await;
    answer.expect_err("the token does not exist");
    let channel = raw::connect(server.grpc_address()).await;
    let path = "/tokend.v1.TokenAdmin/ListTokens";
    raw::call(&channel, path, &[], &[Bytes::new()])
        .await
        .expect_err("a call without a key is refused");
    raw::call_as(
        &channel,
        server.admin_key(),
        "/tokend.v1.TokenAdmin/Canary",
        Bytes::new(),
    )
    .await
    .expect_err("the method does not exist");
    let log = server.stop().await.stderr;

    let verify = request(&log, "TokenVerify/Verify");
    assert_eq!(
        (&verify["workspace"], &verify["code"]),
        (&"acme".into(), &"OK".into()),
        "{verify}"
    );
    assert!(
        verify["caller"].is_string() && verify["duration_us"].is_u64(),
        "{verify}"
    );
    assert!(verify.get("reason").is_none(), "{verify}");

    let create = request(&log, "TokenAdmin/CreateToken");
    assert_eq!(
        (&create["workspace"], &create["caller"]),
        (&"acme".into(), &verify["caller"]),
        "{create}"
    );

    let get = request(&log, "TokenAdmin/GetToken");
    assert!(get["code"] != "OK" && get["reason"].is_string(), "{get}");

    let stranger = request(&log, "TokenAdmin/ListTokens");
    let outcome = (&stranger["code"], &stranger["reason"]);
    assert_eq!(
        outcome,
        (&"UNAUTHENTICATED".into(), &"MISSING_CREDENTIAL".into()),
        "{stranger}"
    );
    assert!(stranger.get("caller").is_none(), "{stranger}");

    let unknown = finished(&log).into_iter().filter(|span| span["operation"] == "unknown");
    let unknown: Vec<_> = unknown.map(|span| span["reason"].clone()).collect();
    assert_eq!(unknown, ["UNKNOWN_METHOD"]);
    assert!(
        !log.contains("Canary"),
        "the path of an unknown method is not logged:\n{log}"
    );

    let spans = finished(&log);
    let ids: HashSet<_> = spans.iter().filter_map(|span| span["request_id"].as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "each request has its own ID:\n{log}");
}

async fn a_denied_verdict_is_logged_with_its_reason_and_without_the_token(installation: Installation) {
    let server = start_at(&installation, "debug").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.verdict(question(&token.secret, &acme, &["webhook"])).await;
    let log = server.stop().await.stderr;

    let denials = lines(&log, "the verdict is DENY");
    let [denial] = denials.as_slice() else {
        panic!("one verdict in\n{log}")
    };
    assert_eq!(denial["fields"]["reason"], "INSUFFICIENT_SCOPE", "{denial}");
    assert_eq!(
        denial["span"]["request_id"],
        request(&log, "TokenVerify/Verify")["request_id"]
    );
    let (_, id) = token.public.name.rsplit_once('/').expect("a name has an ID");
    assert!(!denial.to_string().contains(id), "{denial}");
}

async fn a_stream_is_logged_when_it_ends(installation: Installation) {
    let server = start_at(&installation, "debug").await;
    let acme = server.workspace("acme").await;
    let watch = WatchAuditEventsRequest {
        parent: acme,
        ..Default::default()
    };
    let mut audit_log = server.admin().audit_log();
    let mut events = audit_log
        .watch_audit_events(watch)
        .await
        .expect("WatchAuditEvents succeeds")
        .into_inner();
    events
        .message()
        .await
        .expect("the stream is open")
        .expect("the stream has an event");
    let is_finished = || {
        let spans = finished(&server.process().stderr());
        spans
            .iter()
            .any(|span| span["operation"] == "tokend.v1.AuditLog/WatchAuditEvents")
    };
    assert!(!is_finished(), "{}", server.process().stderr());
    drop(events);
    eventually("the line of the stream is logged", async || is_finished().then_some(())).await;
    let log = server.stop().await.stderr;
    let span = request(&log, "AuditLog/WatchAuditEvents");
    assert_eq!(
        (&span["code"], &span["workspace"]),
        (&"CANCELLED".into(), &"acme".into()),
        "{span}"
    );
}

async fn the_line_of_a_request_has_the_id_of_its_fault(installation: Installation) {
    let server = start_at(&installation, "debug").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    installation.sql("UPDATE tokens SET display_name = 'edited'").await;
    let name = token.public.name;
    let answer = server.admin().token_admin().get_token(GetTokenRequest { name }).await;
    let details = answer.expect_err("the row was changed").get_error_details();
    let id = details.request_info().expect("a fault has an ID").request_id.clone();
    let log = server.stop().await.stderr;
    assert_eq!(request(&log, "TokenAdmin/GetToken")["fault"], id.as_str());
    let is_logged = log
        .lines()
        .filter(|line| line.contains("\"ERROR\""))
        .any(|line| line.contains(&id));
    assert!(is_logged, "{log}");
}

async fn no_argument_and_no_secret_is_in_the_log(installation: Installation) {
    let server = start_at(&installation, "trace").await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_with_arguments(&acme)).await;
    server.verdict(question(&token.secret, &acme, &[])).await;
    server.verdict(question(&token.secret, &acme, &["webhook"])).await;
    let admin_key = server.admin_key().to_owned();
    let log = server.stop().await.stderr;
    assert!(!finished(&log).is_empty(), "{log}");
    for secret in [&token.secret, &admin_key] {
        let (_, secret_part) = secret.rsplit_once('_').expect("a secret has parts");
        assert!(!log.contains(secret_part), "{log}");
    }
    for argument in ARGUMENTS.into_iter().chain(["webhook", "repository:write"]) {
        assert!(!log.contains(argument), "{argument} is in\n{log}");
    }
}

async fn requests_are_not_logged_at_info(installation: Installation) {
    let server = start_at(&installation, "info").await;
    server.workspace("acme").await;
    let log = server.stop().await.stderr;
    assert!(
        !log.contains("request finished") && !log.contains("\"request\""),
        "{log}"
    );
}
