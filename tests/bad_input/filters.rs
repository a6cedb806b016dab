//! The filter of `ListTokens`: every operator on every kind of field, and invalid filters.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{ListTokensRequest, ListTokensResponse};
use tokend_tests::{Installation, on_both_databases};

use crate::{
    case::{Aspect, Case, Expect, FieldRows, Rows, fields},
    hostile::{Class, Hostile},
    run::{World, run, same},
    values::Values,
};

on_both_databases!(filters);

const TOKENS: &str = "TokenAdmin/ListTokens";
pub(crate) const OPERATORS: [&str; 7] = ["=", "!=", "<", "<=", ">", ">=", ":"];
pub(crate) const ORDER: [&str; 4] = ["<", "<=", ">", ">="];

async fn filters(installation: Installation) {
    run(installation, cases, read_back).await;
}

/// Rows of a restriction with each operator; the `refused` operators are invalid.
pub(crate) fn each_operator<R: Message + Clone, S: Fn(&mut R, String)>(
    filter: &mut FieldRows<'_, '_, R, S>,
    field: &str,
    value: &str,
    refused: &[&str],
) {
    for operator in OPERATORS {
        let text = format!("{field} {operator} {value}");
        if refused.contains(&operator) {
            filter.bad(Aspect::IllFormed, &text, text.as_str());
        } else {
            filter.good(Aspect::Smallest, &text, text.as_str());
        }
    }
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut tokens = Rows::of(
        TOKENS,
        ListTokensRequest {
            parent: values.acme.clone(),
            ..Default::default()
        },
    );
    let mut filter = tokens.field("filter", |request, value: String| request.filter = value);
    filter.good(Aspect::Empty, "none", "");
    filter.good(Aspect::Smallest, "a scope of one character", "scopes:a");
    for (field, value, refused) in [
        ("state", "ACTIVE", &ORDER[..]),
        ("state", "\"STATE_REVOKED\"", &ORDER),
        ("scopes", "repository:write", &ORDER),
        ("labels.team", "web", &ORDER),
        ("labels.team", "''", &ORDER),
        ("creator", "callers/root", &ORDER),
        ("create_time", "2027-01-31T12:00:00.5+01:00", &[":"]),
        ("expire_time", "'2027-01-31T12:00:00Z'", &[":"]),
        ("expire_time", "never", &["<", "<=", ">", ">=", ":"]),
        ("expire_time", "*", &["=", "!=", "<", "<=", ">", ">="]),
        ("resource", "workspaces/acme/projects/web", &ORDER),
        ("resource", "workspaces/other", &ORDER),
        ("labels.team", "*", &["=", "!=", "<", "<=", ">", ">="]),
        ("last_used_time", "2027-01-31T12:00:00Z", &[":"]),
        ("last_used_time", "never", &["<", "<=", ">", ">=", ":"]),
        ("last_used_time", "*", &["=", "!=", "<", "<=", ">", ">="]),
        ("unused", "true", &ORDER),
        ("unused", "'false'", &ORDER),
        ("last_used_time", "yesterday", &OPERATORS),
        ("unused", "TRUE", &OPERATORS),
        ("unused", "1", &OPERATORS),
        ("unused", "never", &OPERATORS),
        ("display_name", "ci", &OPERATORS),
        ("name", "workspaces/acme/tokens/x", &OPERATORS),
        ("labels", "team", &OPERATORS),
        ("", "ACTIVE", &OPERATORS),
        ("state", "", &OPERATORS),
        ("state", "*", &OPERATORS),
        ("state", "active", &OPERATORS),
        ("state", "STATE_UNSPECIFIED", &OPERATORS),
        ("state", "1", &OPERATORS),
        ("scopes", "Repository", &OPERATORS),
        ("scopes", "''", &OPERATORS),
        ("labels.Team", "web", &OPERATORS),
        ("labels.team", "we*", &OPERATORS),
        ("creator", "root", &OPERATORS),
        ("creator", "callers/-", &OPERATORS),
        ("create_time", "2027-01-31", &OPERATORS),
        ("create_time", "2027-01-31T12:00:00", &OPERATORS),
        ("create_time", "0000-01-31T12:00:00Z", &OPERATORS),
        ("create_time", "10000-01-01T00:00:00Z", &OPERATORS),
        ("create_time", "2027-01-31T12:00:00.0000001Z", &OPERATORS),
        ("create_time", "never", &OPERATORS),
        ("create_time", "now", &OPERATORS),
        ("expire_time", "30d", &OPERATORS),
        ("resource", "projects/web", &OPERATORS),
        ("resource", "workspaces/acme/../other", &OPERATORS),
        ("resource", "workspaces/acme/", &OPERATORS),
    ] {
        each_operator(&mut filter, field, value, refused);
    }
    for text in [
        " ",
        "x",
        "state",
        "state = ",
        "((((",
        "()",
        "\"",
        "\"state = ACTIVE\"",
        "labels.team:web AND",
        "AND labels.team:web",
        "state = ACTIVE state = ACTIVE",
        "state = ACTIVE and state = ACTIVE",
        "state = ACTIVE, state = REVOKED",
        "state = ACTIVE; state = REVOKED",
        "state == ACTIVE",
        "state =! ACTIVE",
        "state = ACTIVE)",
        "(state = ACTIVE",
        "NOT state = ACTIVE",
        "-state = ACTIVE",
        "labels.team = \"web",
        "labels.team = 'we\\b'",
        "labels.team = 'web\\",
        "1=1",
        "*",
    ] {
        filter.bad(Aspect::IllFormed, text, text);
    }
    let state = "state=ACTIVE";
    let many = |count| vec![state; count].join(" OR ");
    let nested = |depth| format!("{}{state}{}", "(".repeat(depth), ")".repeat(depth));
    filter.good(Aspect::Largest, "64 comparisons", many(64));
    filter.bad(Aspect::TooLarge, "65 comparisons", many(65));
    filter.good(Aspect::Largest, "16 parentheses one in another", nested(16));
    filter.bad(Aspect::TooLarge, "17 parentheses one in another", nested(17));
    filter.bad(Aspect::TooLarge, "20,000 parentheses one in another", nested(20_000));
    filter.bad(Aspect::TooLarge, "50,000 parentheses", "(".repeat(50_000));
    filter.good(Aspect::Largest, "4,096 bytes", format!("{state:4096}"));
    filter.bad(Aspect::TooLarge, "4,097 bytes", format!("{state:4097}"));
    filter.bad(Aspect::TooLarge, "60,000 characters", "x".repeat(60_000));
    filter.good(
        Aspect::Largest,
        "a label of 128 characters",
        format!("labels.team='{}'", "ü".repeat(128)),
    );
    filter.bad(
        Aspect::TooLarge,
        "a label of 129 characters",
        format!("labels.team='{}'", "ü".repeat(129)),
    );
    filter.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    filter.bad(
        Aspect::Secret,
        "a token as a state",
        format!("state = {}", values.token.secret),
    );
    filter.bad(
        Aspect::Secret,
        "a token in quotes that don't end",
        format!("creator = '{}", values.token.secret),
    );
    filter.bad(
        Aspect::Secret,
        "a caller key behind a filter",
        format!("state = ACTIVE {}", values.admin_key),
    );
    filter.twice("x", "", Expect::Accepted);
    filter.twice("", "x", fields(&["filter"]));
    filter.hostile_is_bad(&["{}", "state = {}", "creator = \"{}\"", "resource:'{}'", "{} = 'x'"]);
    filter.hostile(&["labels.team = \"{}\""], |_, hostile| {
        if is_label(hostile) {
            Expect::Accepted
        } else {
            fields(&["filter"])
        }
    });
    tokens.finish()
}

/// Returns whether the value is valid for a label and needs no escapes between quotes.
fn is_label(hostile: &Hostile) -> bool {
    let text = hostile.text();
    hostile.class == Class::Printable && text.chars().count() <= 128 && !text.contains(['"', '\\'])
}

/// The workspace's tokens fit on a page, so the total is the number of returned tokens.
async fn read_back(world: &World, case: &Case, answer: Bytes) -> Result<(), String> {
    let asked = ListTokensRequest::decode(case.request.clone()).expect("the request decodes");
    let page = ListTokensResponse::decode(answer).expect("the response decodes");
    same("the total", page.total_size, page.tokens.len() as i64)?;
    same("whether there is a next page", page.next_page_token.is_empty(), true)?;
    let all = world
        .server
        .admin()
        .token_admin()
        .list_tokens(ListTokensRequest {
            filter: String::new(),
            ..asked.clone()
        })
        .await;
    let all = all.expect("ListTokens succeeds").into_inner().tokens;
    // All tokens are active, have the same scope and no labels, and their resource is the workspace.
    let matched = match page.tokens {
        none if none.is_empty() => "none",
        some if some == all => "all",
        _ => "some",
    };
    let wanted = match asked.filter.as_str() {
        "" => "all",
        filter if filter.starts_with("state") => all_or_none(filter.contains("ACTIVE") != filter.contains("!=")),
        filter if filter.starts_with("labels") => all_or_none(filter.contains("!=")),
        filter if filter.starts_with("resource") => all_or_none(filter.contains("!=")),
        filter if filter.starts_with("scopes:a") => "none",
        filter if filter.starts_with("scopes") => all_or_none(!filter.contains("!=")),
        _ => return Ok(()),
    };
    same("the returned tokens", matched, wanted)
}

fn all_or_none(is_true: bool) -> &'static str {
    if is_true { "all" } else { "none" }
}
