//! `TokenAdmin.BatchRevokeTokens`: which selections of tokens are refused.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{BatchRevokeTokensRequest, BatchRevokeTokensResponse, ErrorReason, token};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused},
    names::chosen_names,
    pasted::pasted,
    refusal::may_hold,
    run::{World, run, same},
    values::Values,
};

on_both_databases!(many_at_once);

const BATCH: &str = "TokenAdmin/BatchRevokeTokens";
/// A filter that matches no token.
const NONE: &str = "state = EXPIRED";

async fn many_at_once(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let Values {
        acme,
        other,
        victims,
        token,
        ..
    } = values;
    let by_filter = BatchRevokeTokensRequest {
        parent: acme.clone(),
        filter: NONE.to_owned(),
        ..Default::default()
    };
    let mut filtered = Rows::of(BATCH, by_filter);
    let mut parent = filtered.field("parent", |request, value: String| request.parent = value);
    chosen_names(&mut parent, values, "workspaces", acme, &|| {
        refused(Code::NotFound, ErrorReason::WorkspaceNotFound)
    });
    let mut filter = filtered.field("filter", |request, value: String| request.filter = value);
    filter.row(Aspect::Empty, "none, and no names", String::new(), fields(&["names"]));
    filter.good(Aspect::Smallest, "a scope of one character", "scopes:a");
    filter.good(Aspect::Largest, "4,096 bytes", format!("{NONE:4096}"));
    filter.bad(Aspect::TooLarge, "4,097 bytes", format!("{NONE:4097}"));
    filter.bad(Aspect::TooLarge, "a megabyte less some", "x".repeat(1_000_000));
    for text in [" ", "x", "state = ", "state = ACTIVE)", "*"] {
        filter.bad(Aspect::IllFormed, text, text);
    }
    filter.last_counts("x", NONE);
    filter.bad(Aspect::Secret, "a token", token.secret.as_str());
    filter.hostile_is_bad(&["{}", "state = {}"]);
    filtered.row(
        "filter",
        Aspect::IllFormed,
        "besides names",
        |request| request.names.clone_from(victims),
        fields(&["filter"]),
    );

    let by_names = BatchRevokeTokensRequest {
        parent: acme.clone(),
        names: victims.clone(),
        ..Default::default()
    };
    let mut named = Rows::of(BATCH, by_names);
    let absent = |number: u32| format!("{acme}/tokens/{:011}{number:06}", 1);
    let no_token = || refused(Code::NotFound, ErrorReason::TokenNotFound);
    let mut names = named.field("names", |request, value: Vec<String>| request.names = value);
    names.bad(Aspect::Empty, "none", Vec::<String>::new());
    names.good(Aspect::Smallest, "one", vec![victims[0].clone()]);
    names.row(
        Aspect::Largest,
        "1,000 of which none is there",
        (0..1_000).map(absent).collect(),
        no_token(),
    );
    names.row(
        Aspect::IllFormed,
        "one that is not there behind one that is",
        vec![victims[0].clone(), absent(0)],
        no_token(),
    );
    names.bad(Aspect::TooLarge, "1,001", (0..1_001).map(absent).collect::<Vec<_>>());
    names.row(
        Aspect::Duplicate,
        "the same twice",
        vec![victims[0].clone(); 2],
        fields(&["names[1]"]),
    );
    let mut name = named
        .field("names", |request, value: String| request.names = vec![value])
        .named("names[0]");
    name.bad(Aspect::Empty, "an empty one", "");
    let id = "00000000001000002";
    name.row(
        Aspect::Smallest,
        "one that is not there",
        format!("{acme}/tokens/{id}"),
        no_token(),
    );
    name.bad(
        Aspect::IllFormed,
        "one of another workspace",
        format!("{other}/tokens/{id}"),
    );
    name.bad(Aspect::TooLarge, "a longer id", format!("{acme}/tokens/{id}0"));
    for text in [
        acme.clone(),
        id.to_owned(),
        format!("{acme}/tokens/"),
        format!("{acme}/tokens/-"),
        format!("/{acme}/tokens/{id}"),
    ] {
        name.bad(Aspect::IllFormed, &text, text.clone());
    }
    name.bad(Aspect::Secret, "a token", token.secret.as_str());
    name.bad(
        Aspect::Secret,
        "a token as the id",
        format!("{acme}/tokens/{}", token.secret),
    );
    name.hostile_is_bad(&["{}", &format!("{acme}/tokens/{{}}"), &format!("{acme}/tokens/{id}{{}}")]);
    name.twice("nobody", &absent(0), fields(&[&format!("names[{}]", victims.len())]));

    let mut reason = named.field("reason", |request, value: String| request.reason = value);
    reason.good(Aspect::Empty, "none", "");
    reason.good(Aspect::Smallest, "one character", "x");
    reason.good(Aspect::Largest, "500 characters of four bytes", "🚀".repeat(500));
    reason.bad(Aspect::TooLarge, "501 characters", "x".repeat(501));
    reason.bad(
        Aspect::IllFormed,
        "a control character behind 499 others",
        format!("{}\u{1b}", "x".repeat(499)),
    );
    for text in pasted(&values.token.secret) {
        reason.good(Aspect::Secret, "a token in a text", text);
    }
    reason.last_counts("\u{1b}", "it leaked");
    reason.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, true) && value.chars().count() <= 500 {
            Expect::Accepted
        } else {
            fields(&["reason"])
        }
    });
    for (name, set) in [
        (
            "no_wait",
            (|request, value| request.no_wait = value) as fn(&mut BatchRevokeTokensRequest, bool),
        ),
        ("validate_only", |request, value| request.validate_only = value),
    ] {
        let mut flag = named.field(name, set);
        flag.good(Aspect::Smallest, "no", false);
        flag.good(Aspect::Largest, "yes", true);
    }
    [filtered.finish(), named.finish()].concat()
}

async fn read_back(world: &World, Case { request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let response = BatchRevokeTokensResponse::decode(answer).expect("the response decodes");
    let asked = BatchRevokeTokensRequest::decode(request.clone()).expect("the request decodes");
    same("the remaining count", response.remaining_count, 0)?;
    same(
        "the number of tokens in the response",
        i32::try_from(response.tokens.len()),
        Ok(response.revoked_count),
    )?;
    same(
        "whether there is a revision",
        response.revision.is_some(),
        !asked.validate_only,
    )?;
    for name in asked.names.iter().filter(|_| !asked.validate_only) {
        same(
            "the state",
            world.server.get_token(name).await.state(),
            token::State::Revoked,
        )?;
    }
    Ok(())
}
