//! Filters of the audit log: the language of token filters, which have their own tests, with other fields.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use tokend_core::{
    audit::{Chain, Event, EventType, Head, Origin, Outcome, Record, RowAfter},
    filter::{EventFilter, FilterError},
    time::Timestamp,
};

use crate::samples::{at, ring};

/// 2025-10-09T08:53:20Z
const NOW: i64 = 1_760_000_000 * 1_000_000;
/// Times of events and of filters are near these, so that some are equal.
const TIMES: [i64; 4] = [NOW - 1_000_000, NOW - 1, NOW, NOW + 1];
const TYPES: [EventType; 5] = [
    EventType::TokenCreated,
    EventType::TokenRevoked,
    EventType::CallerKeyRevoked,
    EventType::CallerDeleted,
    EventType::CallRefused,
];
const RESOURCES: [&str; 6] = [
    "",
    "workspaces/acme",
    "workspaces/acme/tokens/x",
    "workspaces/acme2",
    "callers/ci/keys/x",
    "callers/ci",
];
const ADDRESSES: [&str; 4] = ["192.0.2.7", "192.0.3.7", "2001:db8::7", "198.51.100.1"];
const NETWORKS: [&str; 4] = ["192.0.2.0/24", "192.0.0.0/16", "2001:db8::/32", "0.0.0.0/0"];
const REASONS: [&str; 5] = [
    "",
    "it leaked",
    "ROLE_NOT_ALLOWED",
    "a \"b\" \\ 'c'",
    "type = token.revoked",
];
const ACTORS: [&str; 2] = ["ada@example.org", "a \"b\" OR c"];

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The model: what a comparison means.
fn is_true(field: &str, operator: &str, value: &str, record: &Record) -> bool {
    let is = |text: &str| (text == value) != (operator == "!=");
    let has = operator == ":";
    match field {
        "type" if has && !value.contains('.') => record.kind.starts_with(&format!("{value}.")),
        "type" => is(&record.kind),
        "caller" => is(&record.caller),
        "actor" => is(&record.actor),
        "address" if has && value.contains('/') => {
            let network: IpNet = value.parse().expect("a network");
            !record.address.is_empty() && network.contains(&record.address.parse::<IpAddr>().expect("an address"))
        }
        "address" => is(&record.address),
        "resource" if has => format!("{}/", record.resource).starts_with(&format!("{value}/")),
        "resource" => is(&record.resource),
        "outcome" => is(&format!("OUTCOME_{}", record.outcome)),
        "reason" if has => record.reason.contains(value),
        "reason" => is(&record.reason),
        _ => {
            let other = value.parse::<Timestamp>().expect("a time").unix_micros();
            match operator {
                "=" => record.time_micros == other,
                "!=" => record.time_micros != other,
                "<" => record.time_micros < other,
                "<=" => record.time_micros <= other,
                ">" => record.time_micros > other,
                _ => record.time_micros >= other,
            }
        }
    }
}

type Comparison = (&'static str, &'static str, String);

fn comparisons() -> impl Strategy<Value = Comparison> {
    let one = |field: &'static str, operators: &[&'static str], values: Vec<String>| {
        let operators = prop::sample::select(operators.to_vec());
        (operators, prop::sample::select(values))
            .prop_map(move |(operator, value)| (field, operator, value))
            .boxed()
    };
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let types = || TYPES.iter().map(|kind| kind.as_str().to_owned()).collect::<Vec<_>>();
    let all = ["=", "!=", ":"];
    prop_oneof![
        one("type", &all, types()),
        one(
            "type",
            &[":"],
            texts(&["token", "caller", "caller_key", "call", "organization"])
        ),
        one("caller", &all, texts(&["", "callers/ci", "callers/ci-2"])),
        one("actor", &all, [texts(&ACTORS), vec![String::new()]].concat()),
        one("address", &all, [texts(&ADDRESSES), vec![String::new()]].concat()),
        one("address", &[":"], texts(&NETWORKS)),
        one("resource", &["=", "!="], texts(&RESOURCES)),
        one("resource", &[":"], texts(&RESOURCES[1..])),
        one("outcome", &all, texts(&["OUTCOME_DONE", "OUTCOME_REFUSED"])),
        one("reason", &all, texts(&REASONS)),
        one("reason", &[":"], texts(&["leak", "\"b\"", "\\", "LEAK"])),
        one(
            "time",
            &["=", "!=", "<", "<=", ">", ">="],
            TIMES.iter().map(|&micros| at(micros).to_string()).collect()
        ),
    ]
}

fn records() -> impl Strategy<Value = Record> {
    let address = prop::option::of(prop::sample::select(ADDRESSES.to_vec()));
    let actor = prop::option::of(prop::sample::select(ACTORS.to_vec()));
    let caller = prop::option::of(prop::sample::select(vec!["ci", "ci-2"]));
    let what = (
        prop::sample::select(TYPES.to_vec()),
        prop::sample::select(RESOURCES.to_vec()),
        any::<bool>(),
    );
    (
        what,
        caller,
        actor,
        address,
        prop::sample::select(REASONS.to_vec()),
        prop::sample::select(TIMES.to_vec()),
    )
        .prop_map(|((kind, resource, done), caller, actor, address, reason, micros)| {
            let origin = Origin {
                caller: caller.map(|caller| caller.parse().expect("an id")),
                actor: actor.map(|actor| actor.parse().expect("an actor")),
                address: address.map(|address| address.parse().expect("an address")),
            };
            let event = Event {
                chain: Chain::Installation,
                kind,
                origin,
                resource: resource.to_owned(),
                outcome: if done { Outcome::Done } else { Outcome::Refused },
                reason: reason.to_owned(),
                detail: String::new(),
                row: RowAfter::None,
            };
            let ring = ring();
            Record::append(
                &Head::new(Chain::Installation, at(NOW), &ring),
                event,
                at(micros),
                &ring,
            )
        })
}

proptest! {
    #[test]
    fn each_comparison_matches_the_model(
        (field, operator, value) in comparisons(),
        records in prop::collection::vec(records(), 1..12),
    ) {
        let text = format!("{field} {operator} {}", quoted(&value));
        let filter: EventFilter = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        for record in records {
            prop_assert_eq!(
                filter.matches(&record),
                is_true(field, operator, &value, &record),
                "{} of {:?}",
                text,
                record
            );
        }
    }

    #[test]
    fn combinations_match_like_their_parts(parts in prop::collection::vec(comparisons(), 3), record in records()) {
        let [a, b, c] = [0, 1, 2].map(|index| {
            let (field, operator, value) = &parts[index];
            (format!("{field}{operator}{}", quoted(value)), is_true(field, operator, value, &record))
        });
        for (text, wanted) in [
            (format!("{} AND {} OR {}", a.0, b.0, c.0), a.1 && (b.1 || c.1)),
            (format!("({} AND {}) OR {}", a.0, b.0, c.0), (a.1 && b.1) || c.1),
        ] {
            let filter: EventFilter = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            prop_assert_eq!(filter.matches(&record), wanted, "{} of {:?}", text, record);
            prop_assert_eq!(filter.to_string().parse(), Ok(filter));
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,64}|(type|caller|address|resource|reason|time)[ :=!<>]{0,3}[\\x00-\\x7f]{0,32}") {
        let _ = text.parse::<EventFilter>();
    }
}

#[test]
fn every_event_type_can_be_filtered() {
    for kind in EventType::ALL {
        let (subject, _) = kind.as_str().split_once('.').expect("a subject and a verb");
        for text in [
            format!("type = {}", kind.as_str()),
            format!("type:{}", kind.as_str()),
            format!("type:{subject}"),
        ] {
            assert!(text.parse::<EventFilter>().is_ok(), "{text}");
        }
        assert_eq!(EventType::from_word(kind.as_str()), Some(*kind));
    }
}

#[test]
fn an_error_has_the_position_and_what_was_expected() {
    let fields = "type, caller, actor, address, resource, outcome, reason, time or an opening parenthesis";
    for (text, position, expected, found) in [
        ("", 1, fields, "the end"),
        ("state = ACTIVE", 1, fields, "\"state\""),
        ("types = token.created", 1, fields, "\"types\""),
        ("type > token.created", 6, "=, != or : after type", "\">\""),
        ("time:x", 5, "=, !=, <, <=, > or >= after time", "\":\""),
        ("outcome = done", 11, "DONE or REFUSED", "\"done\""),
        (
            "address = 192.0.2.0/24",
            11,
            "an IP address, or a network after :",
            "\"192.0.2.0/24\"",
        ),
        (
            "resource:tokens//x",
            10,
            "a resource name, such as workspaces/acme/tokens/x or callers/ci",
            "\"tokens//x\"",
        ),
    ] {
        let error = FilterError::Unexpected {
            position,
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        assert_eq!(text.parse::<EventFilter>(), Err(error), "{text:?}");
    }
    let refusal = |text: &str| text.parse::<EventFilter>().expect_err(text).to_string();
    let unknown = refusal("type = token.destroyed");
    assert!(
        unknown.contains("expected one of installation.created,") && unknown.contains("token.revoked"),
        "{unknown}"
    );
    assert!(
        refusal("type = token").contains("expected one of"),
        "only : asks for what it is about"
    );
    assert!(refusal("address:192.0.2.7/24").contains("write 192.0.2.0/24"));
    for bad in [
        "caller = ci",
        "actor = 'ä'",
        "address:192.0.2",
        "resource:''",
        "outcome = ''",
        "type = ''",
        "time > 2027-01-31",
    ] {
        assert!(bad.parse::<EventFilter>().is_err(), "{bad}");
    }
}

#[test]
fn no_secret_is_repeated() {
    let secret = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
    for text in [
        secret.clone(),
        format!("type = {secret}"),
        format!("actor = '{secret}'"),
        format!("caller = {secret}"),
    ] {
        let refusal = text.parse::<EventFilter>().expect_err("no filter").to_string();
        assert!(!refusal.contains("ssss"), "{refusal}");
    }
}
