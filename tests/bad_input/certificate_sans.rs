//! `CallerAdmin.CreateCaller`: which names of client certificates are refused.

use tokend_client::v1::CreateCallerRequest;

use crate::{
    case::{Aspect, Expect, Rows, fields},
    hostile::Class,
};

pub(crate) fn certificate_sans(rows: &mut Rows<'_, CreateCallerRequest>, secret: &str) {
    let list = |sans: &[&str]| -> Vec<String> { sans.iter().map(ToString::to_string).collect() };
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("{n}.example.com")).collect() };
    for (aspect, what, sans, expect) in [
        (Aspect::Empty, "none", vec![], Expect::Accepted),
        (Aspect::Smallest, "one", many(1), Expect::Accepted),
        (Aspect::Largest, "16", many(16), Expect::Accepted),
        (Aspect::TooLarge, "17", many(17), fields(&["certificate_sans"])),
        (
            Aspect::TooLarge,
            "20,000",
            vec![String::new(); 20_000],
            fields(&["certificate_sans"]),
        ),
        (
            Aspect::Duplicate,
            "the same twice",
            list(&["a.example", "b.example", "a.example"]),
            fields(&["certificate_sans[2]"]),
        ),
        (
            Aspect::IllFormed,
            "two of three",
            list(&["", "a.example", " "]),
            fields(&["certificate_sans[0]", "certificate_sans[2]"]),
        ),
    ] {
        rows.row(
            "certificate_sans",
            aspect,
            what,
            |request| request.certificate_sans = sans,
            expect,
        );
    }
    let mut san = rows.field(
        "certificate_sans",
        |request: &mut CreateCallerRequest, value: String| request.certificate_sans = vec![value],
    );
    san = san.named("certificate_sans[0]");
    san.bad(Aspect::Empty, "empty", "");
    san.good(Aspect::Smallest, "one character", "a");
    for text in [
        "gateway.example.com",
        "Gateway.Example.COM",
        "spiffe://example.com/ns/web/sa/gateway",
        "urn:uuid:0190b1a4-6c1e-7cc3-9d4f",
    ] {
        san.good(Aspect::Smallest, text, text);
    }
    san.good(
        Aspect::Largest,
        "a URI of 255 characters",
        format!("urn:{}", "a".repeat(251)),
    );
    san.bad(
        Aspect::TooLarge,
        "a URI of 256 characters",
        format!("urn:{}", "a".repeat(252)),
    );
    san.good(
        Aspect::Largest,
        "a DNS name of 253 characters",
        ["a".repeat(63).as_str(); 4].join(".")[..253].to_owned(),
    );
    san.bad(
        Aspect::TooLarge,
        "a DNS name of 255 characters",
        ["a".repeat(63).as_str(); 4].join("."),
    );
    san.bad(Aspect::TooLarge, "a label of 64 characters", "a".repeat(64));
    for text in [
        "*.example.com",
        "*",
        "a.",
        ".a",
        "a..b",
        "-a.example",
        "a/b",
        "urn:",
        ":a",
        "1a:b",
    ] {
        san.bad(Aspect::IllFormed, text, text);
    }
    for text in [
        "a b",
        " a",
        "a ",
        "<a>",
        "\"a\"",
        "a\\b",
        "a^b",
        "a`b",
        "{a}",
        "a|b",
        "\u{e4}.example",
        "xn--\u{e4}",
    ] {
        san.bad(Aspect::IllFormed, text, text);
    }
    // Every character of a URI (RFC 3986) is allowed in a certificate.
    let fits = |value: &str| {
        let of_a_uri = |char: char| char.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(char);
        value.len() <= 255 && value.chars().all(of_a_uri)
    };
    san.bad(Aspect::Secret, "a token as a DNS name", secret);
    san.bad(
        Aspect::Secret,
        "a token in a URI",
        format!("spiffe://example.com/{secret}"),
    );
    san.hostile(&["spiffe://example.com/{}", "{}.example.com"], |value, hostile| {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .chars()
                    .all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
        };
        let is_dns = value.split('.').all(label);
        let good = (fits(value) && value.starts_with("spiffe:") || is_dns) && hostile.class == Class::Printable;
        if good {
            Expect::Accepted
        } else {
            fields(&["certificate_sans[0]"])
        }
    });
}
