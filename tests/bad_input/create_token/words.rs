//! Rows of display names, descriptions and labels of new tokens.

use std::collections::BTreeMap;

use prost::{Message, encoding::WireType};
use tokend_client::v1::CreateTokenRequest;

use super::CREATE;
use crate::{
    case::{Aspect, Expect, Rows, fields},
    descriptors,
    hostile::UNSEEN,
    pasted::pasted,
    refusal::may_hold,
    values::Values,
};

pub(super) fn texts(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let mut name = rows.field("display_name", |request, value: String| request.display_name = value);
    name.bad(Aspect::Empty, "empty", "");
    for blank in [" ", "\t", "\u{a0}\u{3000}", "\u{2003}"] {
        name.bad(Aspect::Empty, format!("blank: {blank:?}"), blank);
    }
    name.good(Aspect::Smallest, "one character", "x");
    name.good(Aspect::Smallest, "one character of four bytes", "🚀");
    name.good(Aspect::Largest, "120 characters", "x".repeat(120));
    name.good(Aspect::Largest, "120 characters of four bytes", "🚀".repeat(120));
    name.good(Aspect::Largest, "blanks but one", format!("{}x", " ".repeat(119)));
    name.bad(Aspect::TooLarge, "121 characters", "x".repeat(121));
    name.bad(Aspect::TooLarge, "121 characters of four bytes", "🚀".repeat(121));
    name.bad(
        Aspect::TooLarge,
        "121 characters, the last one blank",
        format!("{} ", "x".repeat(120)),
    );
    name.bad(Aspect::TooLarge, "60,000 characters", "x".repeat(60_000));
    name.bad(
        Aspect::IllFormed,
        "a control character behind 119 others",
        format!("{}\u{1}", "x".repeat(119)),
    );
    for unseen in UNSEEN {
        name.bad(Aspect::Empty, format!("nothing that can be seen: {unseen:?}"), *unseen);
        name.good(
            Aspect::Smallest,
            format!("one character behind {unseen:?}"),
            format!("{unseen}x"),
        );
    }
    for text in pasted(&values.token.secret) {
        name.bad(Aspect::Secret, "a token in a text", text);
    }
    name.good(Aspect::Hostile, "an option", "--help");
    name.last_counts("", "ci");
    name.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, false) && value.len() < 1_000 {
            Expect::Accepted
        } else {
            fields(&["display_name"])
        }
    });

    let mut description = rows.field("description", |request, value: String| request.description = value);
    description.good(Aspect::Empty, "none", "");
    description.good(Aspect::Smallest, "one character", "x");
    description.good(Aspect::Smallest, "a blank", " ");
    description.good(Aspect::Largest, "1,000 characters", "x".repeat(1_000));
    description.good(Aspect::Largest, "1,000 characters of four bytes", "🚀".repeat(1_000));
    description.good(Aspect::Largest, "1,000 line breaks", "\n".repeat(1_000));
    description.bad(Aspect::TooLarge, "1,001 characters", "x".repeat(1_001));
    description.bad(Aspect::TooLarge, "1,001 characters of four bytes", "🚀".repeat(1_001));
    description.bad(
        Aspect::IllFormed,
        "a control character behind 999 others",
        format!("{}\u{1}", "x".repeat(999)),
    );
    for text in pasted(&values.admin_key) {
        description.bad(Aspect::Secret, "a caller key in a text", text);
    }
    description.last_counts("\u{1b}", "for the pipeline");
    description.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, true) && value.len() < 10_000 {
            Expect::Accepted
        } else {
            fields(&["description"])
        }
    });
}

pub(super) fn labels(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let many = |count: usize| {
        (0..count)
            .map(|n| (format!("k{n}"), String::new()))
            .collect::<BTreeMap<_, _>>()
    };
    let largest = (10..26)
        .map(|n| (format!("k{}{n}", "-".repeat(60)), "🚀".repeat(128)))
        .collect();
    for (aspect, what, labels, expect) in [
        (Aspect::Empty, "none", BTreeMap::new(), Expect::Accepted),
        (Aspect::Smallest, "one", many(1), Expect::Accepted),
        (Aspect::Largest, "16", many(16), Expect::Accepted),
        (Aspect::Largest, "16 of the largest", largest, Expect::Accepted),
        (Aspect::TooLarge, "17", many(17), fields(&["labels"])),
        (Aspect::TooLarge, "5,000", many(5_000), fields(&["labels"])),
    ] {
        rows.row("labels", aspect, what, |request| request.labels = labels, expect);
    }
    let set = |request: &mut CreateTokenRequest, key: String| request.labels = BTreeMap::from([(key, "v".to_owned())]);
    let mut key = rows.field("labels.key", set).named("labels");
    key.bad(Aspect::Empty, "empty", "");
    key.good(Aspect::Smallest, "one letter", "a");
    key.good(Aspect::Largest, "63 characters", format!("a{}", "-".repeat(62)));
    key.good(Aspect::Largest, "every character", "az09_-");
    key.bad(Aspect::TooLarge, "64 characters", format!("a{}", "-".repeat(63)));
    for text in [
        "A",
        "aB",
        "1a",
        "_a",
        "-a",
        "a.b",
        "a b",
        "a/b",
        "a:b",
        "a=b",
        "team\u{308}",
        "täm",
        " a",
        "a ",
        "$a",
        "__proto__",
    ] {
        key.bad(Aspect::IllFormed, text, text);
    }
    key.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    key.bad(
        Aspect::Secret,
        "a part of a token in lower case",
        values.token.secret[..60].to_lowercase(),
    );
    key.hostile_is_bad(&["{}", "a{}"]);

    let set =
        |request: &mut CreateTokenRequest, value: String| request.labels = BTreeMap::from([("team".to_owned(), value)]);
    let mut value = rows.field("labels.value", set).named("labels");
    value.good(Aspect::Empty, "empty", "");
    value.good(Aspect::Smallest, "one character", "x");
    value.good(Aspect::Largest, "128 characters", "x".repeat(128));
    value.good(Aspect::Largest, "128 characters of four bytes", "🚀".repeat(128));
    value.bad(Aspect::TooLarge, "129 characters", "x".repeat(129));
    value.bad(Aspect::TooLarge, "129 characters of four bytes", "🚀".repeat(129));
    value.bad(
        Aspect::IllFormed,
        "a control character behind 127 others",
        format!("{}\u{7f}", "x".repeat(127)),
    );
    for text in pasted(&values.token.secret) {
        value.bad(Aspect::Secret, "a token in a text", text);
    }
    value.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, false) && value.len() < 1_000 {
            Expect::Accepted
        } else {
            fields(&["labels"])
        }
    });

    // On the wire a map is a list of entries. Of two entries with the same key the last one counts, and a missing key
    // or value is empty.
    let entry = |key: &str, value: &str| {
        let text = |number, text: &str| {
            descriptors::keyed(
                number,
                WireType::LengthDelimited,
                &descriptors::delimited(text.as_bytes()),
            )
        };
        descriptors::field(CREATE, "labels").encode(&[text(1, key), text(2, value)].concat())
    };
    let too_long = "x".repeat(129);
    for (field, what, entries, expect) in [
        (
            "labels.value",
            "a good one last",
            [entry("team", &too_long), entry("team", "web")],
            Expect::Accepted,
        ),
        (
            "labels.value",
            "a bad one last",
            [entry("team", "web"), entry("team", &too_long)],
            fields(&["labels"]),
        ),
        (
            "labels.key",
            "the same key twice",
            [entry("team", "one"), entry("team", "two")],
            Expect::Accepted,
        ),
        (
            "labels.key",
            "a bad one first",
            [entry("Team", "one"), entry("team", "two")],
            fields(&["labels"]),
        ),
    ] {
        let request = [rows.good().encode_to_vec(), entries.concat()].concat();
        rows.raw(field, Aspect::Duplicate, what, request, expect);
    }
    let seventeen: Vec<u8> = (0..17).flat_map(|n| entry("team", &n.to_string())).collect();
    let request = [rows.good().encode_to_vec(), seventeen].concat();
    rows.raw(
        "labels.key",
        Aspect::Duplicate,
        "one key 17 times is one label",
        request,
        Expect::Accepted,
    );
    let nothing = descriptors::field(CREATE, "labels").encode(&[]);
    rows.raw(
        "labels.key",
        Aspect::Empty,
        "an entry of nothing",
        [rows.good().encode_to_vec(), nothing].concat(),
        fields(&["labels"]),
    );
}
