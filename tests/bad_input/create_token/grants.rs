//! Rows of scopes, resources and networks of new tokens.

use tokend_client::v1::CreateTokenRequest;

use crate::{
    case::{Aspect, Expect, Rows, fields},
    values::{ALL_SCOPES, Values},
};

pub(super) fn scopes(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let list = |scopes: &[&str]| -> Vec<String> { scopes.iter().map(ToString::to_string).collect() };
    let backwards: Vec<_> = ALL_SCOPES.iter().rev().map(ToString::to_string).collect();
    for (aspect, what, scopes, expect) in [
        (Aspect::Empty, "none", vec![], fields(&["scopes"])),
        (Aspect::Smallest, "one", list(&["runner"]), Expect::Accepted),
        (Aspect::Largest, "every one", list(&ALL_SCOPES), Expect::Accepted),
        (
            Aspect::Largest,
            "every one, backwards",
            backwards.clone(),
            Expect::Accepted,
        ),
        (
            Aspect::Largest,
            "one that another implies",
            list(&["pullrequest:write", "repository"]),
            Expect::Accepted,
        ),
        (
            Aspect::TooLarge,
            "every one and one more",
            [list(&ALL_SCOPES), list(&["wiki"])].concat(),
            fields(&["scopes[15]"]),
        ),
        (
            Aspect::TooLarge,
            "every one a hundred times",
            list(&ALL_SCOPES.repeat(100)),
            fields(&["scopes[15]"]),
        ),
        (
            Aspect::TooLarge,
            "a thousand that do not exist",
            vec!["x".to_owned(); 1_000],
            fields(&["scopes[0]"]),
        ),
        (
            Aspect::Duplicate,
            "the same twice",
            list(&["runner", "runner"]),
            fields(&["scopes[1]"]),
        ),
        (
            Aspect::Duplicate,
            "the same twice, others between",
            list(&["runner", "webhook", "account", "runner"]),
            fields(&["scopes[3]"]),
        ),
        (
            Aspect::IllFormed,
            "the second one",
            list(&["runner", "Webhook"]),
            fields(&["scopes[1]"]),
        ),
        (
            Aspect::IllFormed,
            "the second one empty",
            list(&["runner", ""]),
            fields(&["scopes[1]"]),
        ),
    ] {
        rows.row("scopes", aspect, what, |request| request.scopes = scopes, expect);
    }
    let mut scope = rows
        .field("scopes", |request, value: String| request.scopes = vec![value])
        .named("scopes[0]");
    scope.bad(Aspect::Empty, "empty", "");
    scope.bad(Aspect::Smallest, "one character", "x");
    scope.good(Aspect::Largest, "the longest there is", "pipeline:variable");
    scope.bad(Aspect::Largest, "64 characters", "x".repeat(64));
    scope.bad(Aspect::TooLarge, "65 characters", "x".repeat(65));
    for text in [
        "Repository",
        "REPOSITORY:WRITE",
        "repository:",
        ":repository",
        "repository::write",
        "repository:*",
        "*",
        "repository write",
        "repository,webhook",
        "repository:write ",
        " repository",
        "repository:read",
        "1x",
        "wiki",
        "repository:write:all",
    ] {
        scope.bad(Aspect::IllFormed, text, text);
    }
    scope.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    scope.hostile_is_bad(&["{}", "repository{}", "{}repository"]);
}

pub(super) fn resources(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let Values { acme, other, token, .. } = values;
    let mut resource = rows.field("resource", |request, value: String| request.resource = value);
    resource.good(Aspect::Empty, "none: the workspace", "");
    resource.good(Aspect::Smallest, "the workspace itself", acme.as_str());
    resource.good(Aspect::Smallest, "one character below", format!("{acme}/a"));
    resource.good(
        Aspect::Largest,
        "1,024 bytes",
        format!("{acme}/{}/{}", vec!["a".repeat(128); 7].join("/"), "b".repeat(105)),
    );
    resource.good(Aspect::Largest, "16 segments", format!("{acme}{}", "/a".repeat(14)));
    resource.good(Aspect::Largest, "every character", format!("{acme}/AZaz09._~%+@:-"));
    resource.bad(
        Aspect::TooLarge,
        "1,025 bytes",
        format!("{acme}/{}/{}", vec!["a".repeat(128); 7].join("/"), "b".repeat(106)),
    );
    resource.bad(Aspect::TooLarge, "17 segments", format!("{acme}{}", "/a".repeat(15)));
    resource.bad(
        Aspect::TooLarge,
        "a segment of 129",
        format!("{acme}/{}", "a".repeat(129)),
    );
    for text in [
        other.clone(),
        format!("{other}/site"),
        format!("{acme}-2"),
        format!("{acme}x/site"),
        "workspaces".to_owned(),
        "/".to_owned(),
        format!("{acme}/"),
        format!("/{acme}"),
        format!("{acme}//site"),
        format!("{acme}/."),
        format!("{acme}/.."),
        format!("{acme}/../other"),
        format!("{acme}/site/../../other"),
        format!("{acme}/./site"),
        format!("{acme}/a b"),
        format!("{acme}/*"),
        format!("{acme}/a\\b"),
        format!("{acme}/site/"),
        acme.to_uppercase(),
        "site".to_owned(),
        "callers/gateway".to_owned(),
        format!("{acme} "),
        format!(" {acme}"),
    ] {
        resource.bad(Aspect::IllFormed, &text, text.clone());
    }
    resource.bad(Aspect::Secret, "a token", token.secret.as_str());
    resource.last_counts(other, &format!("{acme}/site"));
    resource.hostile(&["{}", &format!("{acme}/{{}}"), &format!("{acme}{{}}")], |value, _| {
        if crate::verify::is_resource(value) {
            Expect::Accepted
        } else {
            fields(&["resource"])
        }
    });
    // Without a valid workspace, only the form of the resource is checked.
    let nowhere = |request: &mut CreateTokenRequest| {
        request.parent = "nowhere".to_owned();
        request.resource.clone_from(other);
    };
    rows.row(
        "resource",
        Aspect::IllFormed,
        "of another workspace than a parent that is none",
        nowhere,
        fields(&["parent"]),
    );
}

pub(super) fn networks(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let list = |networks: &[&str]| -> Vec<String> { networks.iter().map(ToString::to_string).collect() };
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("10.0.{n}.0/24")).collect() };
    let longest = (100..164)
        .map(|n| format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:f{n}/128"))
        .collect();
    for (aspect, what, networks, expect) in [
        (Aspect::Empty, "none", vec![], Expect::Accepted),
        (Aspect::Smallest, "one", many(1), Expect::Accepted),
        (Aspect::Largest, "64", many(64), Expect::Accepted),
        (Aspect::Largest, "64 of the longest", longest, Expect::Accepted),
        (Aspect::TooLarge, "65", many(65), fields(&["allowed_cidrs"])),
        (
            Aspect::TooLarge,
            "65 of which none is one",
            vec!["x".to_owned(); 65],
            fields(&["allowed_cidrs"]),
        ),
        (
            Aspect::TooLarge,
            "20,000",
            vec!["x".to_owned(); 20_000],
            fields(&["allowed_cidrs"]),
        ),
        (
            Aspect::Duplicate,
            "the same twice",
            list(&["10.0.0.0/8", "10.0.0.0/8"]),
            fields(&["allowed_cidrs[1]"]),
        ),
        (
            Aspect::Duplicate,
            "the same three times",
            list(&["::/0", "::/0", "::/0"]),
            fields(&["allowed_cidrs[1]", "allowed_cidrs[2]"]),
        ),
        (
            Aspect::Duplicate,
            "the same in other letters",
            list(&["2001:DB8::/32", "2001:0db8::/32"]),
            fields(&["allowed_cidrs[1]"]),
        ),
        (
            Aspect::Duplicate,
            "the same, mapped",
            list(&["10.0.0.0/8", "::ffff:10.0.0.0/104"]),
            fields(&["allowed_cidrs[1]"]),
        ),
        (
            Aspect::Duplicate,
            "one in the other",
            list(&["10.0.0.0/8", "10.1.0.0/16"]),
            Expect::Accepted,
        ),
        (
            Aspect::IllFormed,
            "two of three",
            list(&["x", "::/0", "y"]),
            fields(&["allowed_cidrs[0]", "allowed_cidrs[2]"]),
        ),
    ] {
        rows.row(
            "allowed_cidrs",
            aspect,
            what,
            |request| request.allowed_cidrs = networks,
            expect,
        );
    }
    let mut network = rows
        .field("allowed_cidrs", |request, value: String| {
            request.allowed_cidrs = vec![value]
        })
        .named("allowed_cidrs[0]");
    network.bad(Aspect::Empty, "empty", "");
    for text in [
        "0.0.0.0/0",
        "::/0",
        "192.0.2.7/32",
        "::1/128",
        "192.0.2.0/24",
        "::ffff:192.0.2.0/120",
        "::ffff:0.0.0.0/96",
        "fe80::/10",
    ] {
        network.good(Aspect::Smallest, text, text);
    }
    network.good(
        Aspect::Largest,
        "the last address",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    );
    for text in [
        "192.0.2.0/33",
        "2001:db8::/129",
        "192.0.2.0/256",
        "192.0.2.0/4294967320",
        "192.0.256.0/24",
        "1:2:3:4:5:6:7:8:9/64",
    ] {
        network.bad(Aspect::TooLarge, text, text);
    }
    for text in [
        "192.0.2.7",
        "2001:db8::7",
        "192.0.2.7/24",
        "2001:db8::7/64",
        "::ffff:192.0.2.7/120",
        "192.0.2.0/",
        "/24",
        "/",
        "192.0.2.0/-1",
        "192.0.2.0/+24",
        "192.0.2.0/024",
        "192.0.2.0/24/24",
        "192.0.2.0/255.255.255.0",
        "192.0.2/24",
        "192.0.02.0/24",
        "192.0.2.0 /24",
        "192.0.2.0/24 ",
        " 192.0.2.0/24",
        "192.0.2.0/24,10.0.0.0/8",
        "fe80::1%eth0/128",
        "[::]/0",
        "localhost/32",
        "example.com/24",
        "0xc0.0.2.0/24",
        "192.0.2.*",
        "192.0.2.0-192.0.2.9",
        "all",
        "any",
        "*",
        "192.0.2.0\\24",
        "1::2::/64",
        "\u{661}92.0.2.0/24",
    ] {
        network.bad(Aspect::IllFormed, text, text);
    }
    network.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    network.hostile_is_bad(&["{}", "192.0.2.0/24{}", "{}192.0.2.0/24"]);
}
