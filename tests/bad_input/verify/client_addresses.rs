//! Rows of `client_address`, the address from which a token is used.

use prost::Message;
use tokend_client::v1::VerifyRequest;

use super::{ALLOW, NOT_FROM_THERE};
use crate::{
    case::{Aspect, Rows, fields},
    values::Values,
};

pub(super) fn client_addresses<R: Message + Clone>(
    rows: &mut Rows<'_, R>,
    values: &Values,
    path: &'static str,
    named: &str,
    at: fn(&mut R) -> &mut VerifyRequest,
) {
    // These rows use a token for 192.0.2.0/24 and 2001:db8::/32.
    let fenced = values.fenced.secret.clone();
    let from = move |r: &mut R, value: String| {
        at(r).token.clone_from(&fenced);
        at(r).client_address = value;
    };
    let mut address = rows.field(path, from).named(named);
    address.row(Aspect::Empty, "unknown", String::new(), NOT_FROM_THERE);
    for (aspect, text, expect) in [
        (Aspect::Smallest, "::", NOT_FROM_THERE),
        (Aspect::Smallest, "0.0.0.0", NOT_FROM_THERE),
        (Aspect::Smallest, "192.0.2.0", ALLOW),
        (Aspect::Smallest, "192.0.2.7", ALLOW),
        (Aspect::Largest, "192.0.2.255", ALLOW),
        (Aspect::Largest, "192.0.3.0", NOT_FROM_THERE),
        (Aspect::Largest, "192.0.1.255", NOT_FROM_THERE),
        (Aspect::Largest, "255.255.255.255", NOT_FROM_THERE),
        (Aspect::Largest, "2001:db8::", ALLOW),
        (Aspect::Largest, "2001:DB8::7", ALLOW),
        (Aspect::Largest, "2001:0db8:0000:0000:0000:0000:0000:0007", ALLOW),
        (Aspect::Largest, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", ALLOW),
        (Aspect::Largest, "2001:db8::192.0.2.7", ALLOW),
        (Aspect::Largest, "2001:db9::", NOT_FROM_THERE),
        (
            Aspect::Largest,
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            NOT_FROM_THERE,
        ),
        // An IPv4-mapped address (RFC 4291 section 2.5.5.2) counts as its IPv4 address. The deprecated IPv4-compatible
        // and the NAT64 addresses do not.
        (Aspect::Largest, "::ffff:192.0.2.7", ALLOW),
        (Aspect::Largest, "::FFFF:c000:0207", ALLOW),
        (Aspect::Largest, "0000:0000:0000:0000:0000:ffff:192.0.2.255", ALLOW),
        (Aspect::Largest, "::ffff:192.0.3.7", NOT_FROM_THERE),
        (Aspect::Largest, "::192.0.2.7", NOT_FROM_THERE),
        (Aspect::Largest, "64:ff9b::192.0.2.7", NOT_FROM_THERE),
    ] {
        address.row(aspect, text, text.to_owned(), expect);
    }
    address.bad(Aspect::TooLarge, "a group of five digits", "2001:db8::00007");
    address.bad(Aspect::TooLarge, "nine groups", "1:2:3:4:5:6:7:8:9");
    address.bad(Aspect::TooLarge, "five numbers", "192.0.2.7.1");
    address.bad(Aspect::TooLarge, "a number past 255", "192.0.2.256");
    for text in [
        "localhost",
        "example.com",
        "fe80::1%eth0",
        "fe80::1%1",
        "2001:db8::7%25eth0",
        "[2001:db8::7]",
        "[2001:db8::7]:443",
        "192.0.2.7:443",
        "192.0.2.7/32",
        "2001:db8::7/128",
        "192.0.2",
        "192.0.2.",
        ".192.0.2.7",
        "192.0.2.7.",
        "3221225991",
        "0xc0000207",
        "0300.0.2.7",
        "192.0.2.07",
        "192.0.2.-7",
        "192.0.2.7 ",
        " 192.0.2.7",
        "192.0.2.7,198.51.100.7",
        "unknown",
        "192,0,2,7",
        "1::2::3",
        ":::",
        ":",
        "2001:db8::g",
        "::ffff:192.0.2",
        "::ffff:192.0.2.256",
        "-",
        "\u{661}92.0.2.7",
        "192\u{3002}0\u{3002}2\u{3002}7",
        "unix:/run/x",
        "http://192.0.2.7/",
    ] {
        address.bad(Aspect::IllFormed, text, text);
    }
    address.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    address.bad(Aspect::Secret, "a header", format!("Bearer {}", values.token.secret));
    address.hostile_is_bad(&["{}", "192.0.2.7{}", "{}192.0.2.7"]);
    if path == "client_address" {
        // The token of the rows with `twice` has no network limits.
        address.twice("localhost", "192.0.2.7", ALLOW);
        address.twice("192.0.2.7", "localhost", fields(&[named]));
    } else {
        // The same without a resource.
        address.twice(
            "192.0.2.7",
            "192.0.2.7",
            fields(&["requests[2].resource", "requests[3].resource"]),
        );
    }

    let mapped = values.fenced_mapped.secret.clone();
    let from = move |r: &mut R, value: String| {
        at(r).token.clone_from(&mapped);
        at(r).client_address = value;
    };
    let mut address = rows.field(path, from);
    for (text, expect) in [
        ("192.0.2.7", ALLOW),
        ("::ffff:192.0.2.7", ALLOW),
        ("192.0.3.7", NOT_FROM_THERE),
        ("::ffff:192.0.3.7", NOT_FROM_THERE),
        ("::192.0.2.7", NOT_FROM_THERE),
        ("2001:db8::7", NOT_FROM_THERE),
    ] {
        address.row(
            Aspect::Smallest,
            format!("{text} and a network of mapped addresses"),
            text.to_owned(),
            expect,
        );
    }
}
