//! Filters: what they mean, how they are written, and what is refused where.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tokend_core::{
    filter::{FilterError, TokenFilter},
    labels::Labels,
    policy::Deadlines,
    scope::GrantedScopes,
    time::Timestamp,
    token::{Circumstances, Expiry, Token, TokenState},
    usage::{RecentAddresses, Usage},
    workspace::WorkspaceState,
};

use crate::samples::{at, circumstances, names, resource, revocation, token};

const SECOND: i64 = 1_000_000;
/// 2025-10-09T08:53:20Z
const NOW: i64 = 1_760_000_000 * SECOND;

/// What a filter is to mean, told as plainly as can be: each comparison is its text and a list of what it is true of.
#[derive(Clone, Debug)]
enum Model {
    All(Vec<Model>),
    Any(Vec<Model>),
    One { field: &'static str, operator: &'static str, value: String },
}

/// A token's state, its end, and when it was used last.
type Shown = (TokenState, Expiry, Option<i64>);

impl Model {
    /// Of a token that is shown so.
    fn is_true(&self, token: &Token, shown: Shown) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.is_true(token, shown)),
            Self::Any(parts) => parts.iter().any(|part| part.is_true(token, shown)),
            Self::One { field, operator, value } => is_true(field, operator, value, token, shown),
        }
    }

    /// A spelling of it. `style` chooses blanks, quotes and needless parentheses.
    fn spelled(&self, style: &mut impl Iterator<Item = u8>) -> String {
        let chance = |style: &mut dyn Iterator<Item = u8>| style.next().unwrap_or(0).is_multiple_of(4);
        let text = match self {
            Self::One { field, operator, value } => {
                let blank = ["", " ", "\t\n"][usize::from(style.next().unwrap_or(0)) % 3];
                let value = match style.next().unwrap_or(0) % 3 {
                    // Only unquoted does a star stand for anything.
                    _ if value == "*" => value.clone(),
                    0 => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
                    1 if is_word(value) => value.clone(),
                    _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
                };
                format!("{field}{blank}{operator}{blank}{value}")
            }
            // OR binds tighter: what is joined by AND needs parentheses in it, and not the other way round.
            Self::All(parts) => {
                let part = |part: &Self| match part.spelled(style) {
                    text if matches!(part, Self::All(_)) => format!("({text})"),
                    text => text,
                };
                parts.iter().map(part).collect::<Vec<_>>().join(" AND ")
            }
            Self::Any(parts) => {
                let part = |part: &Self| match part.spelled(style) {
                    text if matches!(part, Self::One { .. }) => text,
                    text => format!("( {text})"),
                };
                parts.iter().map(part).collect::<Vec<_>>().join("  OR ")
            }
        };
        if matches!(self, Self::One { .. }) && chance(style) { format!("({text} )") } else { text }
    }
}

fn is_word(value: &str) -> bool {
    !value.is_empty() && !value.contains(|char: char| char.is_ascii_whitespace() || "()<>=!,\"'*".contains(char))
}

/// One comparison, by the text of its value.
fn is_true(field: &str, operator: &str, value: &str, token: &Token, (state, expiry, last_used): Shown) -> bool {
    let is = |equal: bool| if operator == "!=" { !equal } else { equal };
    let compared = |time: i64| {
        let other = value.parse::<Timestamp>().expect("a time").unix_micros();
        match operator {
            "=" => time == other,
            "!=" => time != other,
            "<" => time < other,
            "<=" => time <= other,
            ">" => time > other,
            _ => time >= other,
        }
    };
    match field {
        "state" => is(value.ends_with(&format!("{state:?}").to_uppercase())),
        "scopes" => is(token.scopes.granted().iter().any(|scope| scope.to_string() == value)),
        "creator" => is(token.creator.name() == value),
        "create_time" => compared(token.create_time.unix_micros()),
        "expire_time" => match (expiry, value) {
            (_, "*") => expiry != Expiry::Never,
            (_, "never") => is(expiry == Expiry::Never),
            (Expiry::At(end), _) => compared(end.unix_micros()),
            (Expiry::Never, _) => operator == "!=",
        },
        "last_used_time" => match (last_used, value) {
            (_, "*") => last_used.is_some(),
            (_, "never") => is(last_used.is_none()),
            (Some(time), _) => compared(time),
            (None, _) => operator == "!=",
        },
        "unused" => is(last_used.is_none() == (value == "true")),
        "resource" => {
            let bound = token.resource.as_str();
            match operator {
                ":" => format!("{bound}/").starts_with(&format!("{value}/")),
                _ => is(bound == value),
            }
        }
        _ => {
            let key = field.strip_prefix("labels.").expect("a label");
            let labels: BTreeMap<_, _> = token.labels.iter().collect();
            match value {
                "*" if operator == ":" => labels.contains_key(key),
                _ => is(labels.get(key) == Some(&value)),
            }
        }
    }
}

const RESOURCES: [&str; 5] = [
    "workspaces/acme",
    "workspaces/acme/projects/web",
    "workspaces/acme/projects/web/repositories/site",
    "workspaces/acme/projects/web2",
    "workspaces/acme/projects/we%25b~@+:-_.x",
];
const LABELS: [&str; 8] = ["", "web", "*x", "a \"b\" \\ 'c'", "never", "OR", "grün 🦀", "(x) AND state = ACTIVE"];
const SCOPES: [&str; 3] = ["repository", "repository:write", "repo_.-sitory"];
const CREATORS: [&str; 2] = ["ci", "ci-2"];
/// Around these the times of tokens lie, and of filters, so that some are equal.
const TIMES: [i64; 5] = [NOW - SECOND, NOW - 1, NOW, NOW + 1, NOW + SECOND];

fn one_of<const N: usize>(texts: [&'static str; N]) -> impl Strategy<Value = String> {
    prop::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn times() -> impl Strategy<Value = String> {
    prop::sample::select(TIMES.to_vec()).prop_map(|micros| at(micros).to_string())
}

fn comparisons() -> impl Strategy<Value = Model> {
    let one = |field: &'static str, operators: Vec<&'static str>, values: BoxedStrategy<String>| {
        (prop::sample::select(operators), values).prop_map(move |(operator, value)| Model::One { field, operator, value }).boxed()
    };
    let plain = || vec!["=", "!=", ":"];
    let ordered = || vec!["=", "!=", "<", "<=", ">", ">="];
    let states = one_of(["ACTIVE", "EXPIRED", "REVOKED", "SUSPENDED", "STATE_ACTIVE", "STATE_EXPIRED", "STATE_REVOKED"]);
    prop_oneof![
        one("state", plain(), states.boxed()),
        one("scopes", plain(), one_of(SCOPES).boxed()),
        one("labels.team", plain(), one_of(LABELS).boxed()),
        one("labels.t-2_", plain(), one_of(LABELS).boxed()),
        one("labels.team", vec![":"], Just("*".to_owned()).boxed()),
        one("creator", plain(), one_of(CREATORS).prop_map(|id| format!("callers/{id}")).boxed()),
        one("create_time", ordered(), times().boxed()),
        one("expire_time", ordered(), times().boxed()),
        one("expire_time", vec!["=", "!="], Just("never".to_owned()).boxed()),
        one("expire_time", vec![":"], Just("*".to_owned()).boxed()),
        one("last_used_time", ordered(), times().boxed()),
        one("last_used_time", vec!["=", "!="], Just("never".to_owned()).boxed()),
        one("last_used_time", vec![":"], Just("*".to_owned()).boxed()),
        one("unused", plain(), one_of(["true", "false"]).boxed()),
        one("resource", plain(), one_of(RESOURCES).boxed()),
    ]
}

fn models() -> impl Strategy<Value = Model> {
    comparisons().prop_recursive(4, 24, 4, |inner| {
        let parts = prop::collection::vec(inner, 2..4);
        prop_oneof![parts.clone().prop_map(Model::All), parts.prop_map(Model::Any)]
    })
}

fn tokens() -> impl Strategy<Value = Token> {
    let labels = prop::collection::btree_map(one_of(["team", "t-2_", "teams"]), one_of(LABELS), 0..3);
    let scopes = prop::sample::subsequence(SCOPES.to_vec(), 1..=2);
    let expiry = prop::option::of(prop::sample::select(TIMES.to_vec()));
    let (created, creators) = (prop::sample::select(TIMES.to_vec()), prop::sample::select(CREATORS.to_vec()));
    (labels, scopes, expiry, created, any::<bool>(), creators, prop::sample::select(RESOURCES.to_vec())).prop_map(
        |(labels, granted, expiry, created, revoked, creator, bound)| Token {
            labels: Labels::new(labels).expect("well-formed"),
            // What it implies is not what it was granted.
            scopes: GrantedScopes::from_stored(1, names(&granted), names(&SCOPES)).expect("well-formed"),
            create_time: at(created),
            creator: creator.parse().expect("well-formed"),
            own_expiry: expiry.map_or(Expiry::Never, |micros| Expiry::At(at(micros))),
            revocation: revoked.then(revocation),
            resource: resource(bound),
            ..token()
        },
    )
}

fn usages() -> impl Strategy<Value = Option<Usage>> {
    prop::option::of(prop::sample::select(TIMES.to_vec()).prop_map(|micros| Usage {
        last_used_time: at(micros),
        addresses: RecentAddresses::default(),
        asked_scopes: BTreeSet::new(),
    }))
}

fn deadlines() -> impl Strategy<Value = Deadlines> {
    let steps = prop::sample::subsequence(vec![(NOW - 1, NOW - 1), (NOW, NOW), (NOW + 1, NOW + SECOND)], 0..=3);
    let text = |(made_until, end): (i64, i64)| format!("{made_until}:{end}");
    steps.prop_map(move |steps| steps.into_iter().map(text).collect::<Vec<_>>().join(" ").parse().expect("well-formed"))
}

fn workspace_states() -> impl Strategy<Value = WorkspaceState> {
    let since = at(NOW - 5);
    prop::sample::select(vec![
        WorkspaceState::Active,
        WorkspaceState::Active,
        WorkspaceState::Suspended { at: since },
        WorkspaceState::Deleted { at: since },
    ])
}

proptest! {
    #[test]
    fn means_what_the_model_says(
        model in models(),
        style in prop::collection::vec(any::<u8>(), 0..64),
        tokens in prop::collection::vec((tokens(), usages()), 1..16),
        state in workspace_states(),
        deadlines in deadlines(),
    ) {
        let text = model.spelled(&mut style.into_iter());
        let filter: TokenFilter = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let circumstances = Circumstances { deadlines, ..circumstances(state) };
        for (token, usage) in tokens {
            let last_used = usage.as_ref().map(|usage| usage.last_used_time.unix_micros());
            let wanted = model.is_true(&token, (token.state(&circumstances, at(NOW)), token.expiry(&circumstances), last_used));
            let is_true = filter.matches(&token, usage.as_ref(), &circumstances, at(NOW));
            prop_assert_eq!(is_true, wanted, "{} of {:?} {:?}", text, token, usage);
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same(model in models(), style in prop::collection::vec(any::<u8>(), 0..64)) {
        let filter: TokenFilter = model.spelled(&mut style.into_iter()).parse().expect("well-formed");
        prop_assert_eq!(filter.to_string().parse(), Ok(filter));
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,64}|[\\x00-\\x7f]{0,64}") {
        let _ = text.parse::<TokenFilter>();
    }

    /// Pieces of filters in any order get further than characters do. The place of an error lies in the text or right behind it.
    #[test]
    fn no_heap_of_pieces_panics(pieces in prop::collection::vec(one_of(PIECES), 0..24)) {
        let text = pieces.concat();
        if let Err(FilterError::Unexpected { position, .. }) = text.parse::<TokenFilter>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&position), "{} of {:?}", position, text);
        }
    }
}

const PIECES: [&str; 25] = [
    "state",
    "scopes",
    "labels.a",
    "labels.",
    "expire_time",
    "resource",
    "unused",
    "last_used_time",
    "=",
    "!=",
    "<",
    ">=",
    ":",
    " ",
    "AND",
    " OR ",
    "(",
    ")",
    "\"",
    "'",
    "\\",
    "*",
    "ACTIVE",
    "ü🦀",
    "workspaces/acme",
];

fn refusal(text: &str) -> String {
    text.parse::<TokenFilter>().map(|filter| filter.to_string()).expect_err(text).to_string()
}

#[test]
fn or_binds_tighter_than_and() {
    let read = |text: &str| text.parse::<TokenFilter>().expect("well-formed").to_string();
    for (text, same) in [
        ("state=ACTIVE AND scopes:a OR scopes:b", "state = ACTIVE AND (scopes:a OR scopes:b)"),
        ("state=ACTIVE OR scopes:a AND scopes:b", "(state = ACTIVE OR scopes:a) AND scopes:b"),
        ("(state=ACTIVE AND scopes:a) OR scopes:b", "(state = ACTIVE AND scopes:a) OR scopes:b"),
        ("((((state:STATE_ACTIVE))))", "state = ACTIVE"),
        ("(scopes:a)AND(scopes:b)OR(scopes:c)", "scopes:a AND (scopes:b OR scopes:c)"),
    ] {
        assert_eq!(read(text), same);
    }
}

#[test]
fn a_refusal_tells_the_place_and_what_belongs_there() {
    let fields = "state, scopes, labels.KEY, creator, create_time, expire_time, last_used_time, unused, resource or an opening \
                  parenthesis";
    for (text, position, expected, found) in [
        ("", 1, fields, "the end"),
        ("  ", 3, fields, "the end"),
        ("stat = ACTIVE", 1, fields, "\"stat\""),
        ("NOT state = ACTIVE", 1, fields, "\"NOT\""),
        ("-state = ACTIVE", 1, fields, "\"-state\""),
        ("labels = x", 1, fields, "\"labels\""),
        ("labels.Team = x", 1, "labels. and the key of a label", "\"labels.Team\""),
        ("state", 6, "=, != or : after state", "the end"),
        ("state ACTIVE", 7, "=, != or : after state", "\"ACTIVE\""),
        ("state == ACTIVE", 8, "a value, if need be in quotes", "\"=\""),
        ("state = ", 9, "a value, if need be in quotes", "the end"),
        ("state < ACTIVE", 7, "=, != or : after state", "\"<\""),
        ("state = active", 9, "ACTIVE, EXPIRED, REVOKED or SUSPENDED", "\"active\""),
        ("state = \"ALIVE\"", 9, "ACTIVE, EXPIRED, REVOKED or SUSPENDED", "\"\\\"ALIVE\\\"\""),
        ("state = ACTIVE scopes:a", 16, "AND, OR or the end", "\"scopes:a\""),
        ("state = ACTIVE and scopes:a", 16, "AND, OR or the end", "\"and\""),
        ("state = ACTIVE)", 15, "AND, OR or the end", "\")\""),
        ("(state = ACTIVE", 16, "AND, OR or )", "the end"),
        ("(state = ACTIVE, scopes:a)", 16, "AND, OR or )", "\",\""),
        ("state = ACTIVE AND", 19, fields, "the end"),
        ("state = ACTIVE OR AND", 19, fields, "\"AND\""),
        ("create_time:*", 12, "=, !=, <, <=, > or >= after create_time", "\":\""),
        ("expire_time:never", 12, "=, !=, <, <=, > or >= after expire_time, or :*", "\":\""),
        ("unused", 7, "=, != or : after unused", "the end"),
        ("unused > true", 8, "=, != or : after unused", "\">\""),
        ("unused = yes", 10, "true or false", "\"yes\""),
        ("last_used_time:never", 15, "=, !=, <, <=, > or >= after last_used_time, or :*", "\":\""),
        ("labels.a = *", 12, "a value without *, or in quotes: there are no wildcards", "\"*\""),
        ("labels.a = 'grün", 17, "a closing '", "the end"),
        ("labels.ü = x", 1, "labels. and the key of a label", "\"labels.ü\""),
        ("labels.a = 'ü' AND labels.b = 'x\\n'", 34, "a quote or a backslash after the backslash", "\"n\""),
    ] {
        let error = FilterError::Unexpected { position, expected: expected.to_owned(), found: found.to_owned() };
        assert_eq!(text.parse::<TokenFilter>(), Err(error), "{text:?}");
    }
    assert_eq!(
        refusal("create_time > 2027-01-31"),
        "is malformed at character 15: expected a time, which must be in RFC 3339 with its offset, in the years 0001 to 9999 and in \
         whole microseconds, such as 2027-01-31T12:00:00Z, found \"2027-01-31\""
    );
    assert_eq!(
        refusal("resource:projects/web"),
        "is malformed at character 10: expected a resource, which must start with workspaces/{workspace}, found \"projects/web\""
    );
    assert_eq!(
        refusal("creator = ci"),
        "is malformed at character 11: expected a caller, which must be a name of the form callers/{id}, found \"ci\""
    );
}

#[test]
fn bounds_are_inclusive() {
    let nested = |depth: usize| format!("{}state=ACTIVE{}", "(".repeat(depth), ")".repeat(depth));
    assert!(nested(16).parse::<TokenFilter>().is_ok());
    assert_eq!(nested(17).parse::<TokenFilter>(), Err(FilterError::TooDeep { position: 17 }));
    assert!(matches!("(".repeat(4_096).parse::<TokenFilter>(), Err(FilterError::TooDeep { position: 17 })));

    let many = |count: usize| vec!["state=ACTIVE"; count].join(" OR ");
    assert!(many(64).parse::<TokenFilter>().is_ok());
    assert_eq!(many(65).parse::<TokenFilter>(), Err(FilterError::TooMany { position: 64 * 16 + 1 }));

    let long = |bytes: usize| format!("{:bytes$}", "state=ACTIVE");
    assert!(long(4_096).parse::<TokenFilter>().is_ok());
    assert_eq!(long(4_097).parse::<TokenFilter>(), Err(FilterError::TooLong(4_097)));
}

#[test]
fn no_secret_is_repeated() {
    let secret = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
    for text in [secret.clone(), format!("state = {secret}"), format!("labels.a = '{secret}"), format!("state = '{secret}'")] {
        assert!(!refusal(&text).contains("ssss"), "{}", refusal(&text));
    }
}

/// The filters that the contract shows: what stands in backquotes in the comment of the field, and compares something.
fn documented(proto: &str) -> Vec<String> {
    let (before, _) = proto.split_once("  string filter = ").expect("the field");
    let comment = before.lines().rev().map_while(|line| line.trim().strip_prefix("//")).collect::<Vec<_>>();
    let comment = comment.into_iter().rev().map(str::trim).collect::<Vec<_>>().join(" ");
    let quoted = comment.split('`').skip(1).step_by(2).map(str::to_owned);
    quoted.filter(|text| text.contains(' ') && text.contains(['=', '<', '>', ':'])).collect()
}

#[test]
fn every_example_in_the_contract_is_a_filter() {
    let examples = documented(include_str!("../../../../proto/tokend/v1/token_admin.proto"));
    assert!(examples.len() > 10, "{examples:?}");
    for example in &examples {
        let parsed: Result<TokenFilter, _> = example.parse();
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
    assert!(examples.iter().any(|example| example.contains(r#"\"mobile\""#)), "{examples:?}");
}
