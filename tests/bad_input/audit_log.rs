//! `AuditLog`: `ListAuditEvents` and `WatchAuditEvents`.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    ErrorReason, ListAuditEventsRequest, ListAuditEventsResponse, WatchAuditEventsRequest, WatchAuditEventsResponse,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, FieldRows, Rows, fields, refused},
    filters::{OPERATORS, ORDER, each_operator},
    names::chosen_names,
    paging::{page_sizes, page_tokens},
    run::{World, run, same},
    values::Values,
};

on_both_databases!(audit_log);

const LIST: &str = "AuditLog/ListAuditEvents";
const WATCH: &str = "AuditLog/WatchAuditEvents";

async fn audit_log(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let not_found = || refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    let mut list = Rows::of(
        LIST,
        ListAuditEventsRequest {
            parent: values.acme.clone(),
            ..Default::default()
        },
    );
    let mut parent = list.field("parent", |request, value: String| request.parent = value);
    parent.good(Aspect::Smallest, "the installation", "-");
    chosen_names(&mut parent, values, "workspaces", &values.acme, &not_found);
    let mut filter = list.field("filter", |request, value: String| request.filter = value);
    filter.good(Aspect::Empty, "none", "");
    filters(&mut filter, values);
    page_sizes(&mut list, |request, value| request.page_size = value);
    page_tokens(&mut list, values, |request, value| request.page_token = value);

    let mut watch = Rows::of(
        WATCH,
        WatchAuditEventsRequest {
            parent: values.acme.clone(),
            after_sequence: 0,
        },
    );
    let mut parent = watch.field("parent", |request, value: String| request.parent = value);
    parent.good(Aspect::Smallest, "the installation", "-");
    chosen_names(&mut parent, values, "workspaces", &values.acme, &not_found);
    let mut after = watch.field("after_sequence", |request, value: i64| request.after_sequence = value);
    after.good(Aspect::Empty, "zero: from the oldest", 0_i64);
    after.good(Aspect::Smallest, "one", 1_i64);
    for number in [-1, i64::from(i32::MIN), i64::MIN] {
        after.bad(Aspect::Smallest, number, number);
    }
    for number in [1_000_000, i64::from(i32::MAX), i64::MAX] {
        after.row(
            Aspect::TooLarge,
            number,
            number,
            refused(Code::OutOfRange, ErrorReason::AuditPositionGone),
        );
    }
    [list.finish(), watch.finish()].concat()
}

/// Rows of every operator on every field, and of invalid filters. The rows of `ListTokens` cover the filter syntax.
fn filters<R: Message + Clone, S: Fn(&mut R, String)>(filter: &mut FieldRows<'_, '_, R, S>, values: &Values) {
    for (field, value, refused) in [
        ("type", "token.created", &ORDER[..]),
        ("type", "'caller_key.leaked'", &ORDER),
        ("type", "token", &["=", "!=", "<", "<=", ">", ">="]),
        ("caller", "callers/root", &ORDER),
        ("caller", "''", &ORDER),
        ("actor", "ada@example.org", &ORDER),
        ("actor", "\"\"", &ORDER),
        ("address", "192.0.2.7", &ORDER),
        ("address", "2001:db8::7", &ORDER),
        ("address", "192.0.2.0/24", &["=", "!=", "<", "<=", ">", ">="]),
        ("resource", "workspaces/acme/tokens/x", &ORDER),
        ("resource", "callers/root", &ORDER),
        ("resource", "''", &["<", "<=", ">", ">=", ":"]),
        ("outcome", "DONE", &ORDER),
        ("outcome", "OUTCOME_REFUSED", &ORDER),
        ("reason", "ROLE_NOT_ALLOWED", &ORDER),
        ("reason", "'(x) AND y'", &ORDER),
        ("time", "2027-01-31T12:00:00.5+01:00", &[":"]),
        ("type", "''", &OPERATORS),
        ("type", "token.destroyed", &OPERATORS),
        ("type", "Token", &OPERATORS),
        ("type", "*", &OPERATORS),
        ("caller", "root", &OPERATORS),
        ("caller", "workspaces/acme", &OPERATORS),
        ("actor", "'ä'", &OPERATORS),
        ("address", "192.0.2", &OPERATORS),
        ("address", "192.0.2.7/24", &OPERATORS),
        ("address", "192.0.02.7", &OPERATORS),
        ("address", "localhost", &OPERATORS),
        ("resource", "workspaces//acme", &OPERATORS),
        ("resource", "workspaces/../acme", &OPERATORS),
        ("resource", "/workspaces/acme", &OPERATORS),
        ("outcome", "done", &OPERATORS),
        ("outcome", "''", &OPERATORS),
        ("outcome", "OUTCOME_UNSPECIFIED", &OPERATORS),
        ("time", "2027-01-31", &OPERATORS),
        ("time", "2027-01-31T12:00:00.0000001Z", &OPERATORS),
        ("time", "now", &OPERATORS),
        ("time", "''", &OPERATORS),
        ("sequence", "1", &OPERATORS),
        ("detail", "x", &OPERATORS),
        ("hash", "x", &OPERATORS),
        ("state", "ACTIVE", &OPERATORS),
        ("", "DONE", &OPERATORS),
    ] {
        each_operator(filter, field, value, refused);
    }
    for text in [
        " ",
        "x",
        "type",
        "type = ",
        "((((",
        "1=1",
        "*",
        "type = token.created)",
        "type = token.created type:token",
    ] {
        filter.bad(Aspect::IllFormed, text, text);
    }
    filter.good(
        Aspect::Largest,
        "a reason of 500 characters",
        format!("reason:'{}'", "ü".repeat(500)),
    );
    filter.bad(
        Aspect::TooLarge,
        "a reason of 501 characters",
        format!("reason:'{}'", "ü".repeat(501)),
    );
    filter.good(
        Aspect::Largest,
        "64 comparisons",
        vec!["outcome=DONE"; 64].join(" AND "),
    );
    filter.bad(
        Aspect::TooLarge,
        "65 comparisons",
        vec!["outcome=DONE"; 65].join(" AND "),
    );
    filter.bad(Aspect::TooLarge, "60,000 characters", "x".repeat(60_000));
    filter.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    filter.bad(
        Aspect::Secret,
        "a token as a type",
        format!("type = {}", values.token.secret),
    );
    filter.bad(
        Aspect::Secret,
        "a token as an actor",
        format!("actor = {}", values.token.secret),
    );
    filter.twice("x", "", Expect::Accepted);
    filter.twice("", "x", fields(&["filter"]));
    // Not for resources: some of these texts are valid resource names.
    filter.hostile_is_bad(&["{}", "type = {}", "caller = \"{}\"", "{} = 'x'"]);
}

async fn read_back(_: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    if *rpc == WATCH {
        let asked = WatchAuditEventsRequest::decode(request.clone()).expect("the request decodes");
        let event = WatchAuditEventsResponse::decode(answer)
            .expect("the response decodes")
            .event
            .ok_or("the response has no event")?;
        return same("the first event", event.sequence, asked.after_sequence + 1);
    }
    let asked = ListAuditEventsRequest::decode(request.clone()).expect("the request decodes");
    let events = ListAuditEventsResponse::decode(answer)
        .expect("the response decodes")
        .events;
    let most = match usize::try_from(asked.page_size).map_err(|_| "a negative size was accepted")? {
        0 => 50,
        size => size.min(1_000),
    };
    if !asked.filter.is_empty() {
        same(
            "whether there are as many as asked for at most",
            events.len() <= most,
            true,
        )?;
        return same(
            "whether they are in order",
            events.is_sorted_by(|newer, older| newer.sequence > older.sequence),
            true,
        );
    }
    same(
        "whether there are as many as asked for at most",
        (1..=most).contains(&events.len()),
        true,
    )?;
    same(
        "whether they are in order",
        events.is_sorted_by(|newer, older| newer.sequence == older.sequence + 1),
        true,
    )
}
