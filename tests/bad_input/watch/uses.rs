//! Rows of the uses that a message reports.

use prost::{Message, encoding::WireType};
use prost_types::Timestamp;
use tokend_client::v1::{TokenUse, WatchRequest};

use super::{WATCH, YEAR_1};
use crate::{
    case::{Aspect, Case, Expect, Rows, fields},
    descriptors::{delimited, keyed},
    names::credential_names,
    values::Values,
};

/// The first second of the year 10000.
const YEAR_10000: i64 = 253_402_300_800;

/// Returns rows of `base` with one use.
pub(super) fn cases(base: WatchRequest, values: &Values) -> Vec<Case> {
    let used = TokenUse {
        token: values.token.name.clone(),
        time: Some(at(1_700_000_000, 0)),
        address: "192.0.2.7".to_owned(),
        scopes: vec!["repository".to_owned()],
    };
    let used = WatchRequest {
        uses: vec![used],
        ..base
    };
    let tokens = tokens(Rows::of(WATCH, used.clone()), values);
    let mut used = Rows::of(WATCH, used);
    uses(&mut used);
    twice(&mut used, "token", "nobody", &values.token.name);
    times(&mut used, values);
    addresses(&mut used, values);
    scopes(&mut used, values);
    [tokens, used.finish()].concat()
}

const fn at(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

fn uses(rows: &mut Rows<'_, WatchRequest>) {
    let good = rows.good().uses.remove(0);
    let nothing = TokenUse::default();
    let mut uses = rows.field("uses", |request, value| request.uses = value);
    uses.good(Aspect::Empty, "none", Vec::<TokenUse>::new());
    uses.good(Aspect::Smallest, "one", vec![good.clone()]);
    uses.good(Aspect::Largest, "1,000", vec![good.clone(); 1_000]);
    uses.bad(Aspect::TooLarge, "1,001", vec![good.clone(); 1_001]);
    uses.bad(
        Aspect::TooLarge,
        "1,001 that do not fit either",
        vec![nothing.clone(); 1_001],
    );
    uses.bad(Aspect::TooLarge, "500,000", vec![nothing.clone(); 500_000]);
    uses.good(Aspect::Duplicate, "the same twice", vec![good.clone(); 2]);
    uses.row(
        Aspect::IllFormed,
        "an empty one",
        vec![good.clone(), nothing.clone()],
        fields(&["uses[1].token", "uses[1].time"]),
    );
    uses.row(
        Aspect::IllFormed,
        "the last of 1,000",
        [vec![good; 999], vec![nothing]].concat(),
        fields(&["uses[999].token", "uses[999].time"]),
    );
}

fn tokens(mut rows: Rows<'_, WatchRequest>, values: &Values) -> Vec<Case> {
    let name = values.token.name.as_str();
    let mut token = rows
        .field("uses.token", |request, value: String| request.uses[0].token = value)
        .named("uses[0].token");
    // Whether there is such a token is not told.
    credential_names(&mut token, values, "workspaces", "tokens", name, &|| Expect::Accepted);
    let mut cases = rows.finish();
    // There each value is another use.
    cases.retain(|case| case.aspect != Aspect::Duplicate);
    cases
}

fn times(rows: &mut Rows<'_, WatchRequest>, values: &Values) {
    let mut time = rows
        .field("uses.time", |request, value| request.uses[0].time = value)
        .named("uses[0].time");
    time.bad(Aspect::Empty, "none", None::<Timestamp>);
    time.good(Aspect::Empty, "an empty one", Some(Timestamp::default()));

    let mut seconds = rows
        .field("uses.time.seconds", |request, seconds| {
            request.uses[0].time = Some(at(seconds, 5))
        })
        .named("uses[0].time");
    seconds.good(Aspect::Empty, "zero", 0_i64);
    seconds.good(Aspect::Smallest, "the year 1", YEAR_1);
    seconds.good(Aspect::Largest, "the end of the year 9999", YEAR_10000 - 1);
    for (aspect, what, value) in [
        (Aspect::Smallest, "the year 0", YEAR_1 - 1),
        (Aspect::Smallest, "the least number", i64::MIN),
        (Aspect::TooLarge, "the year 10000", YEAR_10000),
        (Aspect::TooLarge, "in microseconds", 1_700_000_000_000_000),
        (Aspect::TooLarge, "the largest number", i64::MAX),
    ] {
        seconds.bad(aspect, what, value);
    }

    let mut nanos = rows
        .field("uses.time.nanos", |request, nanos| {
            request.uses[0].time = Some(at(1_700_000_000, nanos));
        })
        .named("uses[0].time");
    nanos.good(Aspect::Empty, "zero", 0);
    nanos.good(Aspect::Smallest, "one", 1);
    nanos.good(Aspect::Largest, "999,999,999", 999_999_999);
    for (aspect, value) in [
        (Aspect::Smallest, -1),
        (Aspect::Smallest, i32::MIN),
        (Aspect::TooLarge, 1_000_000_000),
        (Aspect::TooLarge, i32::MAX),
    ] {
        nanos.bad(aspect, value, value);
    }

    // The only use of a token.
    let (fenced, path) = (values.fenced.name.clone(), "uses.time.seconds");
    let earliest = |request: &mut WatchRequest| {
        request.uses[0] = TokenUse {
            token: fenced,
            time: Some(at(YEAR_1, 0)),
            ..Default::default()
        };
    };
    rows.row(
        path,
        Aspect::Smallest,
        "the earliest of all",
        earliest,
        Expect::Accepted,
    );
}

fn addresses(rows: &mut Rows<'_, WatchRequest>, values: &Values) {
    let mut address = rows
        .field("uses.address", |request, value: String| request.uses[0].address = value)
        .named("uses[0].address");
    address.good(Aspect::Empty, "unknown", "");
    for (aspect, text) in [
        (Aspect::Smallest, "::"),
        (Aspect::Smallest, "0.0.0.0"),
        (Aspect::Largest, "255.255.255.255"),
        (Aspect::Largest, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        (Aspect::Largest, "::ffff:192.0.2.7"),
    ] {
        address.good(aspect, text, text);
    }
    for (aspect, text) in [
        (Aspect::TooLarge, "2001:db8::00007"),
        (Aspect::TooLarge, "1:2:3:4:5:6:7:8:9"),
        (Aspect::TooLarge, "192.0.2.256"),
        (Aspect::IllFormed, "localhost"),
        (Aspect::IllFormed, "fe80::1%eth0"),
        (Aspect::IllFormed, "[2001:db8::7]:443"),
        (Aspect::IllFormed, "192.0.2.7/32"),
        (Aspect::IllFormed, "192.0.2.07"),
        (Aspect::IllFormed, "192.0.2.7 "),
        (Aspect::IllFormed, "192.0.2.7,198.51.100.7"),
        (Aspect::IllFormed, "\u{661}92.0.2.7"),
        (Aspect::Secret, values.token.secret.as_str()),
    ] {
        address.bad(aspect, format!("one of {} bytes", text.len()), text);
    }
    address.bad(Aspect::TooLarge, "60,000 characters", "1".repeat(60_000));
    address.hostile_is_bad(&["{}", "192.0.2.7{}", "{}192.0.2.7"]);
    twice(rows, "address", "localhost", "192.0.2.7");
}

fn scopes(rows: &mut Rows<'_, WatchRequest>, values: &Values) {
    let mut scopes = rows
        .field("uses.scopes", |request, value: Vec<String>| {
            request.uses[0].scopes = value
        })
        .named("uses[0].scopes");
    scopes.good(Aspect::Empty, "none", Vec::<String>::new());
    scopes.good(Aspect::Smallest, "one", ["webhook".to_owned()]);
    scopes.good(Aspect::Largest, "256", vec!["repository".to_owned(); 256]);
    scopes.bad(Aspect::TooLarge, "257", vec!["repository".to_owned(); 257]);
    scopes.bad(Aspect::TooLarge, "257 that do not fit either", vec![String::new(); 257]);
    scopes.good(Aspect::Duplicate, "the same twice", vec!["repository".to_owned(); 2]);
    scopes.row(
        Aspect::IllFormed,
        "two that do not fit",
        ["", "repository", "*"].map(str::to_owned).to_vec(),
        fields(&["uses[0].scopes[0]", "uses[0].scopes[2]"]),
    );

    let mut scope = rows
        .field("uses.scopes", |request, value: String| {
            request.uses[0].scopes = vec![value]
        })
        .named("uses[0].scopes[0]");
    scope.bad(Aspect::Empty, "an empty one", "");
    // Scopes of another catalogue are left out.
    scope.good(Aspect::Smallest, "an unknown one of one character", "x");
    scope.good(Aspect::Largest, "an unknown one of 64 characters", "x".repeat(64));
    scope.bad(Aspect::TooLarge, "65 characters", "x".repeat(65));
    for text in [
        "Repository",
        "repository:",
        ":write",
        "repository write",
        " repository",
        "1x",
    ] {
        scope.bad(Aspect::IllFormed, text, text);
    }
    scope.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    scope.bad(Aspect::Secret, "a caller key", values.admin_key.as_str());
    scope.hostile(&["{}", "repository:{}", "repository{}"], |value, _| {
        // Words may have dots.
        if value == "repository.." {
            Expect::Accepted
        } else {
            fields(&["uses[0].scopes[0]"])
        }
    });
}

/// Adds rows with a field of one use twice on the wire, where the last value counts.
fn twice(rows: &mut Rows<'_, WatchRequest>, field: &str, bad: &str, good: &str) {
    let path = format!("uses.{field}");
    let number = if field == "token" { 1 } else { 3 };
    for (first, last, expect) in [
        (bad, good, Expect::Accepted),
        (good, bad, fields(&[&format!("uses[0].{field}")])),
    ] {
        let mut request = rows.good();
        let mut used = request.uses.remove(0).encode_to_vec();
        for text in [first, last] {
            used.extend(keyed(number, WireType::LengthDelimited, &delimited(text.as_bytes())));
        }
        let uses = keyed(3, WireType::LengthDelimited, &delimited(&used));
        let request = [request.encode_to_vec(), uses].concat();
        rows.raw(
            &path,
            Aspect::Duplicate,
            format!("{first:?}, then {last:?}"),
            request,
            expect,
        );
    }
}
