//! Token policies as tables.

use prost_types::Duration;
use tokend_client::v1::{
    Selection, TokenPolicy, UpdateTokenPolicyResponse, update_token_policy_response::AffectedToken,
};

use crate::{
    client::{
        output::{answers, time, word},
        parse,
    },
    terminal::{Field, View},
};

/// The text of a rule that is not set.
const NO_RULE: &str = "-";

answers! {
    TokenPolicy(policy) => rules(Some(policy), None, Saved::Yes),
    GetTokenPolicyResponse(answer) => rules(answer.policy.as_ref(), answer.effective.as_ref(), Saved::Yes),
    UpdateTokenPolicyResponse(answer) => updated(answer, Saved::Yes),
}

/// Shows the response to an update: the policy, and the tokens that end earlier.
pub(super) fn updated(answer: &UpdateTokenPolicyResponse, saved: Saved) -> View {
    const AFFECTED: &[Field<AffectedToken>] = &[
        ("TOKEN", |affected| affected.token.clone()),
        ("ENDS", |affected| time(affected.expire_time.as_ref(), "never")),
    ];
    View::Parts(vec![
        rules(answer.policy.as_ref(), answer.effective.as_ref(), saved),
        View::list(&answer.affected, AFFECTED, ""),
    ])
}

/// Whether a policy is stored. A dry run shows one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    Yes,
    No,
}

/// The rules of a policy, in the order in which they are shown.
const RULES: [Field<TokenPolicy>; 6] = [
    ("require expiry", |policy| {
        let text = if policy.require_expiry { "yes" } else { NO_RULE };
        text.to_owned()
    }),
    ("max lifetime", |policy| lifetime(policy.max_lifetime.as_ref())),
    ("default lifetime", |policy| lifetime(policy.default_lifetime.as_ref())),
    ("allowed scopes", |policy| selection(policy.allowed_scopes.as_ref())),
    ("allowed cidrs", |policy| selection(policy.allowed_cidrs.as_ref())),
    ("max active tokens", |policy| {
        policy
            .max_active_tokens
            .map_or_else(|| NO_RULE.to_owned(), |count| count.to_string())
    }),
];

/// Shows a list of policies.
pub(super) fn list(policies: &[TokenPolicy]) -> View {
    let [expiry, max, default, scopes, cidrs, active] = RULES.map(|(_, rule)| rule);
    let columns: [Field<TokenPolicy>; 8] = [
        ("NAME", |policy| policy.name.clone()),
        ("REQUIRE EXPIRY", expiry),
        ("MAX LIFETIME", max),
        ("DEFAULT LIFETIME", default),
        ("SCOPES", scopes),
        ("CIDRS", cidrs),
        ("MAX ACTIVE", active),
        ("EXISTING TOKENS", existing_tokens),
    ];
    View::list(policies, &columns, "No policy is set.")
}

/// Shows one policy with a row for each rule. For a workspace, a second column has the effective rules.
fn rules(policy: Option<&TokenPolicy>, effective: Option<&TokenPolicy>, saved: Saved) -> View {
    let Some(policy) = policy else {
        return View::Details(Vec::new());
    };
    let row = |title: &str, set: String, in_effect: Option<String>| {
        let cells = [Some(title.to_owned()), Some(set), in_effect];
        cells.into_iter().flatten().collect::<Vec<_>>()
    };
    let empty = || effective.map(|_| String::new());
    let mut rows = vec![row("name", policy.name.clone(), empty())];
    rows.extend(RULES.map(|(title, rule)| row(title, rule(policy), effective.map(rule))));
    rows.push(row("existing tokens", existing_tokens(policy), empty()));
    if saved == Saved::Yes {
        rows.push(row("set", time(policy.update_time.as_ref(), "never"), empty()));
        rows.push(row("etag", policy.etag.clone(), empty()));
    }
    let header = match (saved, effective.is_some()) {
        (Saved::Yes, true) => vec!["RULE", "POLICY", "EFFECTIVE"],
        (Saved::Yes, false) => vec!["RULE", "POLICY"],
        (Saved::No, true) => vec!["RULE", "NOT SAVED", "EFFECTIVE IF SAVED"],
        (Saved::No, false) => vec!["RULE", "NOT SAVED"],
    };
    View::List { header, rows, none: "" }
}

fn existing_tokens(policy: &TokenPolicy) -> String {
    word(policy.existing_tokens().as_str_name(), "EXISTING_TOKENS_")
}

fn selection(selection: Option<&Selection>) -> String {
    match selection {
        None | Some(Selection { all: true, only: _ }) => NO_RULE.to_owned(),
        // The effective policy, if the workspace's and the organization's have nothing in common.
        Some(Selection { all: false, only }) if only.is_empty() => "none".to_owned(),
        Some(Selection { all: false, only }) => only.join(" "),
    }
}

fn lifetime(span: Option<&Duration>) -> String {
    span.map_or_else(|| NO_RULE.to_owned(), parse::format_duration)
}

#[cfg(test)]
mod tests {
    use tokend_client::v1::GetTokenPolicyResponse;

    use super::*;
    use crate::client::output::Answer;

    fn policy() -> TokenPolicy {
        TokenPolicy {
            name: "workspaces/acme/tokenPolicy".to_owned(),
            max_lifetime: Some(Duration {
                seconds: 90 * 86_400,
                nanos: 0,
            }),
            allowed_scopes: Some(Selection {
                all: false,
                only: vec!["a".to_owned(), "b".to_owned()],
            }),
            etag: "x".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn each_rule_has_a_row() {
        let effective = TokenPolicy {
            require_expiry: true,
            allowed_scopes: Some(Selection::default()),
            ..policy()
        };
        let answer = GetTokenPolicyResponse {
            policy: Some(policy()),
            effective: Some(effective),
        };
        assert_eq!(
            answer.view().lines(),
            "RULE               POLICY                       EFFECTIVE\n\
             name               workspaces/acme/tokenPolicy\n\
             require expiry     -                            yes\n\
             max lifetime       90d                          90d\n\
             default lifetime   -                            -\n\
             allowed scopes     a b                          none\n\
             allowed cidrs      -                            -\n\
             max active tokens  -                            -\n\
             existing tokens    UNSPECIFIED\n\
             set                never\n\
             etag               x\n"
        );
    }

    #[test]
    fn a_dry_run_is_not_shown_as_a_stored_policy() {
        let answer = UpdateTokenPolicyResponse {
            policy: Some(policy()),
            effective: Some(policy()),
            ..Default::default()
        };
        let shown = updated(&answer, Saved::No).lines();
        assert!(
            shown.starts_with("RULE               NOT SAVED                    EFFECTIVE IF SAVED\n"),
            "{shown}"
        );
        assert!(!shown.contains("etag") && !shown.contains("set  "), "{shown}");
        assert!(answer.view().lines().contains("etag"));
    }

    #[test]
    fn tokens_that_end_earlier_are_listed_below() {
        let affected = vec![AffectedToken {
            token: "workspaces/acme/tokens/x".to_owned(),
            expire_time: Some(Default::default()),
        }];
        let answer = UpdateTokenPolicyResponse {
            policy: Some(policy()),
            affected,
            ..Default::default()
        };
        let shown = answer.view().lines();
        assert!(
            shown.ends_with("\n\nTOKEN                     ENDS\nworkspaces/acme/tokens/x  1970-01-01T00:00:00Z\n"),
            "{shown}"
        );
    }
}
