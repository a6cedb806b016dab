//! `WorkspaceAdmin.UpdateTokenPolicy`: which scopes and networks are refused.

use tokend_client::v1::{Selection, TokenPolicy, UpdateTokenPolicyRequest};

use crate::{
    case::{Aspect, Expect, Rows, fields},
    values::{ALL_SCOPES, Values},
};

pub(crate) fn policy(request: &mut UpdateTokenPolicyRequest) -> &mut TokenPolicy {
    request.policy.as_mut().expect("the request has a policy")
}

pub(crate) fn only(entries: &[&str]) -> Option<Selection> {
    Some(Selection {
        all: false,
        only: entries.iter().map(ToString::to_string).collect(),
    })
}

/// Rows for both scopes and networks.
fn selections(
    rows: &mut Rows<'_, UpdateTokenPolicyRequest>,
    field: &str,
    (one, other): (&str, &str),
    set: fn(&mut UpdateTokenPolicyRequest, Option<Selection>),
) {
    let all = |all, only: &[&str]| {
        Some(Selection {
            all,
            only: only.iter().map(ToString::to_string).collect(),
        })
    };
    for (part, aspect, what, selection, expect) in [
        ("", Aspect::Empty, "none", None, Expect::Accepted),
        (
            "",
            Aspect::Empty,
            "neither all nor only",
            all(false, &[]),
            fields(&[field]),
        ),
        (".all", Aspect::Smallest, "no", all(false, &[]), fields(&[field])),
        (".all", Aspect::Largest, "yes", all(true, &[]), Expect::Accepted),
        (
            ".all",
            Aspect::IllFormed,
            "all and only",
            all(true, &[one]),
            fields(&[field]),
        ),
        (".only", Aspect::Empty, "none", all(false, &[]), fields(&[field])),
        (".only", Aspect::Smallest, "one", only(&[one]), Expect::Accepted),
        (
            ".only",
            Aspect::TooLarge,
            "20,000",
            only(&["x"; 20_000]),
            fields(&[field]),
        ),
        (
            ".only",
            Aspect::Duplicate,
            "the same twice",
            only(&[one, other, one]),
            fields(&[&format!("{field}.only[2]")]),
        ),
    ] {
        rows.row(
            &format!("{field}{part}"),
            aspect,
            what,
            |request| set(request, selection),
            expect,
        );
    }
}

pub(crate) fn scopes(rows: &mut Rows<'_, UpdateTokenPolicyRequest>, values: &Values) {
    const FIELD: &str = "policy.allowed_scopes";
    selections(rows, FIELD, ("webhook", "runner"), |request, selection| {
        policy(request).allowed_scopes = selection
    });
    let set = |request: &mut UpdateTokenPolicyRequest, value: String| {
        policy(request).allowed_scopes = only(&[value.as_str()])
    };
    rows.row(
        "policy.allowed_scopes.only",
        Aspect::Largest,
        "all that there are",
        |request| policy(request).allowed_scopes = only(&ALL_SCOPES),
        Expect::Accepted,
    );
    let too_many = |request: &mut UpdateTokenPolicyRequest| policy(request).allowed_scopes = only(&["webhook"; 257]);
    rows.row(
        "policy.allowed_scopes.only",
        Aspect::TooLarge,
        "257",
        too_many,
        fields(&[FIELD]),
    );
    let mut scope = rows
        .field("policy.allowed_scopes.only", set)
        .named("policy.allowed_scopes.only[0]");
    scope.bad(Aspect::Empty, "empty", "");
    scope.bad(Aspect::Largest, "the longest, which there is not", "a".repeat(64));
    scope.bad(Aspect::TooLarge, "65 characters", "a".repeat(65));
    for text in [
        "*",
        "repository:*",
        "Repository",
        " repository",
        "repository:",
        "all",
        "nothing",
    ] {
        scope.bad(Aspect::IllFormed, text, text);
    }
    scope.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    scope.hostile_is_bad(&["{}", "repository{}"]);
}

pub(crate) fn networks(rows: &mut Rows<'_, UpdateTokenPolicyRequest>, values: &Values) {
    const FIELD: &str = "policy.allowed_cidrs";
    selections(rows, FIELD, ("10.0.0.0/8", "::/0"), |request, selection| {
        policy(request).allowed_cidrs = selection
    });
    for (aspect, count, expect) in [
        (Aspect::Largest, 64, Expect::Accepted),
        (Aspect::TooLarge, 65, fields(&[FIELD])),
    ] {
        let many = (0..count).map(|n| format!("10.0.{n}.0/24")).collect();
        let change = |request: &mut UpdateTokenPolicyRequest| {
            policy(request).allowed_cidrs = Some(Selection { all: false, only: many })
        };
        rows.row("policy.allowed_cidrs.only", aspect, count, change, expect);
    }
    let set =
        |request: &mut UpdateTokenPolicyRequest, value: String| policy(request).allowed_cidrs = only(&[value.as_str()]);
    let mut network = rows
        .field("policy.allowed_cidrs.only", set)
        .named("policy.allowed_cidrs.only[0]");
    network.bad(Aspect::Empty, "empty", "");
    network.good(Aspect::Smallest, "every address", "::/0");
    network.good(
        Aspect::Largest,
        "the last address",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    );
    network.bad(Aspect::TooLarge, "33 bits", "192.0.2.0/33");
    for text in [
        "192.0.2.7",
        "192.0.2.7/24",
        "192.0.2.0/",
        "/24",
        "*",
        "192.0.2.0/24 ",
        "192.0.2.0/255.255.255.0",
    ] {
        network.bad(Aspect::IllFormed, text, text);
    }
    network.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    network.hostile_is_bad(&["{}", "192.0.2.0/24{}"]);
}
