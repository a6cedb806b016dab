//! `ListAuditEvents` and `WatchAuditEvents`.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    ErrorReason, ListAuditEventsRequest, ListAuditEventsResponse, WatchAuditEventsRequest, WatchAuditEventsResponse,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused},
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
    let mut list = Rows::of(LIST, ListAuditEventsRequest { parent: values.acme.clone(), ..Default::default() });
    let mut parent = list.field("parent", |request, value: String| request.parent = value);
    parent.good(Aspect::Smallest, "the installation", "-");
    chosen_names(&mut parent, values, "workspaces", &values.acme, &not_found);
    let mut filter = list.field("filter", |request, value: String| request.filter = value);
    filter.good(Aspect::Empty, "none", "");
    filter.bad(Aspect::TooLarge, "60,000 characters", "x".repeat(60_000));
    for text in [" ", "x", "type = token.created", "((((", "1=1", "*"] {
        filter.bad(Aspect::IllFormed, text, text);
    }
    filter.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    filter.twice("x", "", Expect::Accepted);
    filter.twice("", "x", fields(&["filter"]));
    filter.hostile_is_bad(&["{}"]);
    page_sizes(&mut list, |request, value| request.page_size = value);
    page_tokens(&mut list, values, |request, value| request.page_token = value);

    let mut watch = Rows::of(WATCH, WatchAuditEventsRequest { parent: values.acme.clone(), after_sequence: 0 });
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
        after.row(Aspect::TooLarge, number, number, refused(Code::OutOfRange, ErrorReason::AuditPositionGone));
    }
    [list.finish(), watch.finish()].concat()
}

async fn read_back(_: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    if *rpc == WATCH {
        let asked = WatchAuditEventsRequest::decode(request.clone()).expect("a request");
        let told = WatchAuditEventsResponse::decode(answer).expect("an answer").event.ok_or("no event is told")?;
        return same("the first event", told.sequence, asked.after_sequence + 1);
    }
    let asked = ListAuditEventsRequest::decode(request.clone()).expect("a request");
    let events = ListAuditEventsResponse::decode(answer).expect("a page").events;
    let most = match usize::try_from(asked.page_size).map_err(|_| "a negative size was accepted")? {
        0 => 50,
        size => size.min(1_000),
    };
    same("whether there are as many as asked for at most", (1..=most).contains(&events.len()), true)?;
    same("whether they are in order", events.is_sorted_by(|newer, older| newer.sequence == older.sequence + 1), true)
}
