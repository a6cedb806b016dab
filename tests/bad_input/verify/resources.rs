//! Rows of `resource`, the resource on which a token is used.

use prost::Message;
use tokend_client::v1::VerifyRequest;

use super::{ALLOW, NOT_COVERED, UNRECOGNIZED};
use crate::{
    case::{Aspect, Rows, fields},
    hostile::Hostile,
    values::Values,
};

pub(super) fn resources<R: Message + Clone>(
    rows: &mut Rows<'_, R>,
    Values { acme, token, .. }: &Values,
    path: &'static str,
    named: &str,
    at: fn(&mut R) -> &mut VerifyRequest,
) {
    let mut resource = rows.field(path, |r, value: String| at(r).resource = value).named(named);
    resource.bad(Aspect::Empty, "empty", "");
    resource.row(
        Aspect::Smallest,
        "the shortest",
        "workspaces/ab".to_owned(),
        NOT_COVERED,
    );
    for (what, text, expect) in [
        (
            "the longest",
            format!("{acme}/{}/{}", vec!["a".repeat(128); 7].join("/"), "b".repeat(105)),
            ALLOW,
        ),
        ("the longest segment", format!("{acme}/{}", "a".repeat(128)), ALLOW),
        ("the deepest", format!("{acme}{}", "/a".repeat(14)), ALLOW),
        ("every character", format!("{acme}/AZaz09._~%+@:-"), ALLOW),
        ("dots", format!("{acme}/.../..a/.a"), ALLOW),
        ("dots, encoded", format!("{acme}/%2e%2e/other"), ALLOW),
        (
            "the longest workspace",
            format!("workspaces/{}", "a".repeat(63)),
            NOT_COVERED,
        ),
        ("a longer workspace", format!("{acme}-2"), NOT_COVERED),
    ] {
        resource.row(Aspect::Largest, what, text, expect);
    }
    for (what, text) in [
        (
            "1,025 bytes",
            format!("{acme}/{}/{}", vec!["a".repeat(128); 7].join("/"), "b".repeat(106)),
        ),
        ("17 segments", format!("{acme}{}", "/a".repeat(15))),
        ("a segment of 129", format!("{acme}/{}", "a".repeat(129))),
        ("a workspace of 64", format!("workspaces/{}", "a".repeat(64))),
        ("a thousand segments", format!("{acme}{}", "/".repeat(1_000))),
    ] {
        resource.bad(Aspect::TooLarge, what, text);
    }
    for text in [
        "/",
        "acme",
        "workspaces",
        "workspaces/",
        "/workspaces/acme",
        "workspaces/acme/",
        "workspaces//acme",
        "Workspaces/acme",
        "workspaces/Acme",
        "workspaces/1acme",
        "workspaces/a",
        "workspaces/acme//site",
        "workspaces/acme/.",
        "workspaces/acme/..",
        "workspaces/acme/../other",
        "workspaces/acme/./site",
        "workspaces/..",
        "workspaces/acme/a b",
        "workspaces/acme/a\\b",
        "workspaces/acme/a?b",
        "workspaces/acme/a#b",
        "workspaces/acme/a&b",
        "workspaces/*",
        "workspaces/acme/*",
        "workspaces/-",
        "organizations/acme",
        "//host/workspaces/acme",
        "https://host/workspaces/acme",
    ] {
        resource.bad(Aspect::IllFormed, text, text);
    }
    resource.bad(Aspect::Secret, "a token", token.secret.as_str());
    let expect = |value: &str, _: &Hostile| if is_resource(value) { ALLOW } else { fields(&[named]) };
    resource.hostile(
        &[
            "{}",
            &format!("{acme}/{{}}"),
            &format!("{acme}/{{}}/site"),
            &format!("{acme}{{}}"),
        ],
        expect,
    );
    if path == "resource" {
        resource.twice("nowhere", acme, ALLOW);
        resource.twice(acme, "nowhere", fields(&[named]));
    } else {
        // The same without a token.
        resource.twice(acme, acme, UNRECOGNIZED);
    }
}

/// Returns whether the text is a valid resource in the workspace of these rows.
pub(crate) fn is_resource(text: &str) -> bool {
    let fits = |segment: &str| {
        (1..=128).contains(&segment.len())
            && !matches!(segment, "." | "..")
            && segment
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || "._~%+@:-".contains(char))
    };
    text.strip_prefix("workspaces/acme/")
        .is_some_and(|rest| rest.split('/').all(fits) && text.len() <= 1_024)
}
