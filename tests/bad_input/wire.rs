//! Bytes that do not decode: for every field of every request, from the contract's descriptors.

use bytes::Bytes;
use prost::encoding::WireType;
use tokend_tests::{Installation, on_both_databases};

use crate::{
    case::{Aspect, Case, undecodable},
    descriptors::{Field, Kind, delimited, rpcs},
    good_request::good_request,
    run::{self, run},
    values::Values,
};

on_both_databases!(bytes_that_do_not_decode);

async fn bytes_that_do_not_decode(installation: Installation) {
    run(installation, cases, run::nothing_to_read_back).await;
}

/// Text in other encodings, truncated UTF-8, and overlong or forbidden UTF-8.
const NO_UTF8: [(&str, &[u8]); 6] = [
    ("Latin-1", b"caf\xe9"),
    ("bytes that never occur", b"\xff\xfe"),
    ("NUL in two bytes", b"a\xc0\x80b"),
    ("a slash in two bytes", b"..\xc0\xaf.."),
    ("half a surrogate pair", b"\xed\xa0\x80"),
    ("a character cut short", b"acme\xf0\x9f\x9a"),
];

/// A varint of more than ten bytes.
const ENDLESS: [u8; 11] = [0xff; 11];

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut cases = Vec::new();
    for rpc in rpcs() {
        // A request that is valid up to its last bytes.
        let good = good_request(values, rpc.name);
        let mut add = |field: &str, aspect, what: String, bytes: &[u8]| {
            let request = Bytes::from([&good, bytes].concat());
            cases.push(Case {
                rpc: rpc.name,
                field: field.to_owned(),
                aspect,
                what,
                request,
                expect: undecodable(),
            });
        };
        for field in &rpc.fields {
            for (what, bytes) in wrong_values(field) {
                add(&field.path, Aspect::Undecodable, what.to_owned(), &bytes);
            }
            for (what, bytes) in NO_UTF8.iter().filter(|_| field.kind == Kind::Text) {
                add(&field.path, Aspect::NotUtf8, (*what).to_owned(), &field.encode(bytes));
            }
        }
        for (what, bytes) in wrong_messages() {
            add("", Aspect::Undecodable, what.to_owned(), &bytes);
        }
    }
    cases
}

/// Returns bytes that no field of this kind accepts.
fn wrong_values(field: &Field) -> Vec<(&'static str, Vec<u8>)> {
    let varint = |bytes: &[u8]| field.encode_as(WireType::Varint, bytes);
    let length = |bytes: &[u8]| field.encode_as(WireType::LengthDelimited, bytes);
    match field.kind {
        Kind::Text | Kind::Message | Kind::Map => vec![
            ("a number", varint(&[1])),
            ("eight bytes", field.encode_as(WireType::SixtyFourBit, &[0; 8])),
            ("a length beyond the message", length(&[0x7f, b'a'])),
            (
                "a length of four exabytes",
                length(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]),
            ),
            ("a length that goes on for ever", length(&ENDLESS)),
        ],
        Kind::Bool | Kind::Number | Kind::Enum if field.is_repeated => {
            panic!(
                "{}: lists of numbers may be packed; the matrix has no rows for that yet",
                field.path
            )
        }
        Kind::Bool | Kind::Number | Kind::Enum => vec![
            ("a text", length(&delimited(b"1"))),
            ("four bytes", field.encode_as(WireType::ThirtyTwoBit, &[0; 4])),
            ("a number that goes on for ever", varint(&ENDLESS)),
            ("a number cut short", varint(&[0x80])),
        ],
    }
}

fn wrong_messages() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a key that goes on for ever", ENDLESS.to_vec()),
        ("a key cut short", vec![0x8a]),
        ("field number 0", vec![0x02, 0x00]),
        ("wire type 6", vec![0x0e]),
        ("wire type 7", vec![0x0f]),
        ("the end of a group that did not begin", vec![0xa4, 0x3e]),
        ("a group that does not end", vec![0xa3, 0x3e]),
        ("a thousand groups, one in the other", [0xa3, 0x3e].repeat(1_000)),
        ("an unknown field cut short", vec![0xa2, 0x3e, 0x7f]),
    ]
}
