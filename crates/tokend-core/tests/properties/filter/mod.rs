//! Filters: what they match, how they are written, and which errors they cause.

mod model;

use proptest::prelude::*;
use tokend_core::{
    filter::{FilterError, TokenFilter},
    token::TokenContext,
};

use crate::samples::{at, token_context};
use model::{deadlines, models, one_of, tokens, usages, workspace_states};

const SECOND: i64 = 1_000_000;
/// 2025-10-09T08:53:20Z
const NOW: i64 = 1_760_000_000 * SECOND;

proptest! {
    #[test]
    fn matches_like_the_model(
        model in models(),
        style in prop::collection::vec(any::<u8>(), 0..64),
        tokens in prop::collection::vec((tokens(), usages()), 1..16),
        state in workspace_states(),
        deadlines in deadlines(),
    ) {
        let text = model.spelled(&mut style.into_iter());
        let filter: TokenFilter = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let token_context = TokenContext { deadlines, ..token_context(state) };
        for (token, usage) in tokens {
            let last_used = usage.as_ref().map(|usage| usage.last_used_time.unix_micros());
            let wanted = model.matches(
                &token,
                (
                    token.state(&token_context, at(NOW)),
                    token.expiry(&token_context),
                    last_used,
                ),
            );
            let is_true = filter.matches(&token, usage.as_ref(), &token_context, at(NOW));
            prop_assert_eq!(is_true, wanted, "{} of {:?} {:?}", text, token, usage);
        }
    }

    #[test]
    fn a_printed_filter_is_parsed_back(model in models(), style in prop::collection::vec(any::<u8>(), 0..64)) {
        let filter: TokenFilter = model.spelled(&mut style.into_iter()).parse().expect("well-formed");
        prop_assert_eq!(filter.to_string().parse(), Ok(filter));
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,64}|[\\x00-\\x7f]{0,64}") {
        let _ = text.parse::<TokenFilter>();
    }

    /// Random sequences of pieces reach more of the parser than random characters do. The position of an error is in
    /// the text or just after it.
    #[test]
    fn random_pieces_do_not_panic(pieces in prop::collection::vec(one_of(PIECES), 0..24)) {
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
    text.parse::<TokenFilter>()
        .map(|filter| filter.to_string())
        .expect_err(text)
        .to_string()
}

#[test]
fn or_binds_tighter_than_and() {
    let read = |text: &str| text.parse::<TokenFilter>().expect("well-formed").to_string();
    for (text, same) in [
        (
            "state=ACTIVE AND scopes:a OR scopes:b",
            "state = ACTIVE AND (scopes:a OR scopes:b)",
        ),
        (
            "state=ACTIVE OR scopes:a AND scopes:b",
            "(state = ACTIVE OR scopes:a) AND scopes:b",
        ),
        (
            "(state=ACTIVE AND scopes:a) OR scopes:b",
            "(state = ACTIVE AND scopes:a) OR scopes:b",
        ),
        ("((((state:STATE_ACTIVE))))", "state = ACTIVE"),
        (
            "(scopes:a)AND(scopes:b)OR(scopes:c)",
            "scopes:a AND (scopes:b OR scopes:c)",
        ),
    ] {
        assert_eq!(read(text), same);
    }
}

#[test]
fn an_error_has_the_position_and_what_was_expected() {
    let fields = "state, scopes, labels.KEY, creator, create_time, expire_time, last_used_time, unused, resource or an \
                  opening parenthesis";
    for (text, position, expected, found) in [
        ("", 1, fields, "the end"),
        ("  ", 3, fields, "the end"),
        ("stat = ACTIVE", 1, fields, "\"stat\""),
        ("NOT state = ACTIVE", 1, fields, "\"NOT\""),
        ("-state = ACTIVE", 1, fields, "\"-state\""),
        ("labels = x", 1, fields, "\"labels\""),
        (
            "labels.Team = x",
            1,
            "labels. and the key of a label",
            "\"labels.Team\"",
        ),
        ("state", 6, "=, != or : after state", "the end"),
        ("state ACTIVE", 7, "=, != or : after state", "\"ACTIVE\""),
        ("state == ACTIVE", 8, "a value, if need be in quotes", "\"=\""),
        ("state = ", 9, "a value, if need be in quotes", "the end"),
        ("state < ACTIVE", 7, "=, != or : after state", "\"<\""),
        (
            "state = active",
            9,
            "ACTIVE, EXPIRED, REVOKED or SUSPENDED",
            "\"active\"",
        ),
        (
            "state = \"ALIVE\"",
            9,
            "ACTIVE, EXPIRED, REVOKED or SUSPENDED",
            "\"\\\"ALIVE\\\"\"",
        ),
        ("state = ACTIVE scopes:a", 16, "AND, OR or the end", "\"scopes:a\""),
        ("state = ACTIVE and scopes:a", 16, "AND, OR or the end", "\"and\""),
        ("state = ACTIVE)", 15, "AND, OR or the end", "\")\""),
        ("(state = ACTIVE", 16, "AND, OR or )", "the end"),
        ("(state = ACTIVE, scopes:a)", 16, "AND, OR or )", "\",\""),
        ("state = ACTIVE AND", 19, fields, "the end"),
        ("state = ACTIVE OR AND", 19, fields, "\"AND\""),
        ("create_time:*", 12, "=, !=, <, <=, > or >= after create_time", "\":\""),
        (
            "expire_time:never",
            12,
            "=, !=, <, <=, > or >= after expire_time, or :*",
            "\":\"",
        ),
        ("unused", 7, "=, != or : after unused", "the end"),
        ("unused > true", 8, "=, != or : after unused", "\">\""),
        ("unused = yes", 10, "true or false", "\"yes\""),
        (
            "last_used_time:never",
            15,
            "=, !=, <, <=, > or >= after last_used_time, or :*",
            "\":\"",
        ),
        (
            "labels.a = *",
            12,
            "a value without *, or in quotes: there are no wildcards",
            "\"*\"",
        ),
        ("labels.a = 'grün", 17, "a closing '", "the end"),
        ("labels.ü = x", 1, "labels. and the key of a label", "\"labels.ü\""),
        (
            "labels.a = 'ü' AND labels.b = 'x\\n'",
            34,
            "a quote or a backslash after the backslash",
            "\"n\"",
        ),
    ] {
        let error = FilterError::Unexpected {
            position,
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        assert_eq!(text.parse::<TokenFilter>(), Err(error), "{text:?}");
    }
    assert_eq!(
        refusal("create_time > 2027-01-31"),
        "is malformed at character 15: expected a time, which must be in RFC 3339 with its offset, in the years \
         0001 to 9999 and in whole microseconds, such as 2027-01-31T12:00:00Z, found \"2027-01-31\""
    );
    assert_eq!(
        refusal("resource:projects/web"),
        "is malformed at character 10: expected a resource, which must start with workspaces/{workspace}, \
         found \"projects/web\""
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
    assert_eq!(
        nested(17).parse::<TokenFilter>(),
        Err(FilterError::TooDeep { position: 17 })
    );
    assert!(matches!(
        "(".repeat(4_096).parse::<TokenFilter>(),
        Err(FilterError::TooDeep { position: 17 })
    ));

    let many = |count: usize| vec!["state=ACTIVE"; count].join(" OR ");
    assert!(many(64).parse::<TokenFilter>().is_ok());
    assert_eq!(
        many(65).parse::<TokenFilter>(),
        Err(FilterError::TooMany { position: 64 * 16 + 1 })
    );

    let long = |bytes: usize| format!("{:bytes$}", "state=ACTIVE");
    assert!(long(4_096).parse::<TokenFilter>().is_ok());
    assert_eq!(long(4_097).parse::<TokenFilter>(), Err(FilterError::TooLong(4_097)));
}

#[test]
fn no_secret_is_repeated() {
    let secret = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
    for text in [
        secret.clone(),
        format!("state = {secret}"),
        format!("labels.a = '{secret}"),
        format!("state = '{secret}'"),
    ] {
        assert!(!refusal(&text).contains("ssss"), "{}", refusal(&text));
    }
}

/// The filters in the contract: text in backquotes in the comment of the field that compares something.
fn documented(proto: &str) -> Vec<String> {
    let (before, _) = proto.split_once("  string filter = ").expect("the field");
    let comment = before
        .lines()
        .rev()
        .map_while(|line| line.trim().strip_prefix("//"))
        .collect::<Vec<_>>();
    let comment = comment.into_iter().rev().map(str::trim).collect::<Vec<_>>().join(" ");
    let quoted = comment.split('`').skip(1).step_by(2).map(str::to_owned);
    quoted
        .filter(|text| text.contains(' ') && text.contains(['=', '<', '>', ':']))
        .collect()
}

#[test]
fn every_example_in_the_contract_is_a_filter() {
    let examples = documented(include_str!("../../../../../proto/tokend/v1/token_admin.proto"));
    assert!(examples.len() > 10, "{examples:?}");
    for example in &examples {
        let parsed: Result<TokenFilter, _> = example.parse();
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
    assert!(
        examples.iter().any(|example| example.contains(r#"\"mobile\""#)),
        "{examples:?}"
    );
}
