//! A simple model of what filters match, and random filters and tokens.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tokend_core::{
    labels::Labels,
    policy::Deadlines,
    scope::GrantedScopes,
    time::Timestamp,
    token::usage::{RecentAddresses, Usage},
    token::{Expiry, Token, TokenState},
    workspace::WorkspaceState,
};

use super::{NOW, SECOND};
use crate::samples::{at, names, resource, revocation, token};

/// The model of a filter: each comparison is its text, and is evaluated directly.
#[derive(Clone, Debug)]
pub(super) enum Model {
    All(Vec<Model>),
    Any(Vec<Model>),
    One {
        field: &'static str,
        operator: &'static str,
        value: String,
    },
}

/// A token's state, its expiry, and when it was last used.
pub(super) type Shown = (TokenState, Expiry, Option<i64>);

impl Model {
    /// Returns whether the model matches the token.
    pub(super) fn matches(&self, token: &Token, shown: Shown) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(token, shown)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(token, shown)),
            Self::One { field, operator, value } => matches(field, operator, value, token, shown),
        }
    }

    /// Writes the filter. `style` chooses white space, quotes and redundant parentheses.
    pub(super) fn spelled(&self, style: &mut impl Iterator<Item = u8>) -> String {
        let chance = |style: &mut dyn Iterator<Item = u8>| style.next().unwrap_or(0).is_multiple_of(4);
        let text = match self {
            Self::One { field, operator, value } => {
                let blank = ["", " ", "\t\n"][usize::from(style.next().unwrap_or(0)) % 3];
                let value = match style.next().unwrap_or(0) % 3 {
                    // A star is a wildcard only without quotes.
                    _ if value == "*" => value.clone(),
                    0 => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
                    1 if is_word(value) => value.clone(),
                    _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
                };
                format!("{field}{blank}{operator}{blank}{value}")
            }
            // OR binds tighter: an AND inside an OR needs parentheses, but not the other way round.
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
        if matches!(self, Self::One { .. }) && chance(style) {
            format!("({text} )")
        } else {
            text
        }
    }
}

fn is_word(value: &str) -> bool {
    !value.is_empty() && !value.contains(|char: char| char.is_ascii_whitespace() || "()<>=!,\"'*".contains(char))
}

/// Evaluates one comparison from the text of its value.
fn matches(field: &str, operator: &str, value: &str, token: &Token, (state, expiry, last_used): Shown) -> bool {
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
const LABELS: [&str; 8] = [
    "",
    "web",
    "*x",
    "a \"b\" \\ 'c'",
    "never",
    "OR",
    "grün 🦀",
    "(x) AND state = ACTIVE",
];
const SCOPES: [&str; 3] = ["repository", "repository:write", "repo_.-sitory"];
const CREATORS: [&str; 2] = ["ci", "ci-2"];
/// Times of tokens and of filters are near these, so that some are equal.
const TIMES: [i64; 5] = [NOW - SECOND, NOW - 1, NOW, NOW + 1, NOW + SECOND];

pub(super) fn one_of<const N: usize>(texts: [&'static str; N]) -> impl Strategy<Value = String> {
    prop::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn times() -> impl Strategy<Value = String> {
    prop::sample::select(TIMES.to_vec()).prop_map(|micros| at(micros).to_string())
}

fn comparisons() -> impl Strategy<Value = Model> {
    let one = |field: &'static str, operators: Vec<&'static str>, values: BoxedStrategy<String>| {
        (prop::sample::select(operators), values)
            .prop_map(move |(operator, value)| Model::One { field, operator, value })
            .boxed()
    };
    let plain = || vec!["=", "!=", ":"];
    let ordered = || vec!["=", "!=", "<", "<=", ">", ">="];
    let states = one_of([
        "ACTIVE",
        "EXPIRED",
        "REVOKED",
        "SUSPENDED",
        "STATE_ACTIVE",
        "STATE_EXPIRED",
        "STATE_REVOKED",
    ]);
    prop_oneof![
        one("state", plain(), states.boxed()),
        one("scopes", plain(), one_of(SCOPES).boxed()),
        one("labels.team", plain(), one_of(LABELS).boxed()),
        one("labels.t-2_", plain(), one_of(LABELS).boxed()),
        one("labels.team", vec![":"], Just("*".to_owned()).boxed()),
        one(
            "creator",
            plain(),
            one_of(CREATORS).prop_map(|id| format!("callers/{id}")).boxed()
        ),
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

pub(super) fn models() -> impl Strategy<Value = Model> {
    comparisons().prop_recursive(4, 24, 4, |inner| {
        let parts = prop::collection::vec(inner, 2..4);
        prop_oneof![parts.clone().prop_map(Model::All), parts.prop_map(Model::Any)]
    })
}

pub(super) fn tokens() -> impl Strategy<Value = Token> {
    let labels = prop::collection::btree_map(one_of(["team", "t-2_", "teams"]), one_of(LABELS), 0..3);
    let scopes = prop::sample::subsequence(SCOPES.to_vec(), 1..=2);
    let expiry = prop::option::of(prop::sample::select(TIMES.to_vec()));
    let (created, creators) = (
        prop::sample::select(TIMES.to_vec()),
        prop::sample::select(CREATORS.to_vec()),
    );
    (
        labels,
        scopes,
        expiry,
        created,
        any::<bool>(),
        creators,
        prop::sample::select(RESOURCES.to_vec()),
    )
        .prop_map(|(labels, granted, expiry, created, revoked, creator, bound)| Token {
            labels: Labels::new(labels).expect("well-formed"),
            // An implied scope is not a granted one.
            scopes: GrantedScopes::from_stored(1, names(&granted), names(&SCOPES)).expect("well-formed"),
            create_time: at(created),
            creator: creator.parse().expect("well-formed"),
            own_expiry: expiry.map_or(Expiry::Never, |micros| Expiry::At(at(micros))),
            revocation: revoked.then(revocation),
            resource: resource(bound),
            ..token()
        })
}

pub(super) fn usages() -> impl Strategy<Value = Option<Usage>> {
    prop::option::of(prop::sample::select(TIMES.to_vec()).prop_map(|micros| Usage {
        last_used_time: at(micros),
        addresses: RecentAddresses::default(),
        asked_scopes: BTreeSet::new(),
    }))
}

pub(super) fn deadlines() -> impl Strategy<Value = Deadlines> {
    let steps = prop::sample::subsequence(vec![(NOW - 1, NOW - 1), (NOW, NOW), (NOW + 1, NOW + SECOND)], 0..=3);
    let text = |(created_until, end): (i64, i64)| format!("{created_until}:{end}");
    steps.prop_map(move |steps| {
        steps
            .into_iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" ")
            .parse()
            .expect("well-formed")
    })
}

pub(super) fn workspace_states() -> impl Strategy<Value = WorkspaceState> {
    let since = at(NOW - 5);
    prop::sample::select(vec![
        WorkspaceState::Active,
        WorkspaceState::Active,
        WorkspaceState::Suspended { at: since },
        WorkspaceState::Deleted { at: since },
    ])
}
