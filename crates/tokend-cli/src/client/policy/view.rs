use prost_types::Duration;
use tokend_client::v1::{
    GetTokenPolicyResponse, Selection, TokenPolicy, UpdateTokenPolicyResponse, update_token_policy_response::AffectedToken,
};

use crate::client::output::{Answer, time, word};
use crate::terminal::View;

/// What stands for a rule that there is not.
const NO_RULE: &str = "-";

impl Answer for TokenPolicy {
    const MESSAGE: &'static str = "tokend.v1.TokenPolicy";

    fn view(&self) -> View {
        rules(Some(self), None, Saved::Yes)
    }
}

impl Answer for GetTokenPolicyResponse {
    const MESSAGE: &'static str = "tokend.v1.GetTokenPolicyResponse";

    fn view(&self) -> View {
        rules(self.policy.as_ref(), self.effective.as_ref(), Saved::Yes)
    }
}

impl Answer for UpdateTokenPolicyResponse {
    const MESSAGE: &'static str = "tokend.v1.UpdateTokenPolicyResponse";

    fn view(&self) -> View {
        View::Parts(vec![rules(self.policy.as_ref(), self.effective.as_ref(), Saved::Yes), affected(self)])
    }
}

/// What a dry run answered: a policy that is not saved.
pub(super) fn proposed(answer: &UpdateTokenPolicyResponse) -> View {
    View::Parts(vec![rules(answer.policy.as_ref(), answer.effective.as_ref(), Saved::No), affected(answer)])
}

/// The tokens that end earlier.
fn affected(answer: &UpdateTokenPolicyResponse) -> View {
    let row = |affected: &AffectedToken| vec![affected.token.clone(), time(affected.expire_time.as_ref(), "never")];
    View::List { header: &["TOKEN", "ENDS"], rows: answer.affected.iter().map(row).collect(), none: "" }
}

/// Whether a policy is the one that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    Yes,
    No,
}

/// A line for each policy.
pub(super) fn list(policies: &[TokenPolicy]) -> View {
    let row = |policy: &TokenPolicy| {
        let [expiry, max, default, scopes, cidrs, active] = cells(policy);
        vec![policy.name.clone(), expiry, max, default, scopes, cidrs, active, existing_tokens(policy)]
    };
    View::List {
        header: &["NAME", "REQUIRE EXPIRY", "MAX LIFETIME", "DEFAULT LIFETIME", "SCOPES", "CIDRS", "MAX ACTIVE", "EXISTING TOKENS"],
        rows: policies.iter().map(row).collect(),
        none: "No policy is set.",
    }
}

/// A line for each rule: as it was set, and of a workspace what binds its tokens in the end.
fn rules(policy: Option<&TokenPolicy>, effective: Option<&TokenPolicy>, saved: Saved) -> View {
    const RULES: [&str; 6] =
        ["require expiry", "max lifetime", "default lifetime", "allowed scopes", "allowed cidrs", "max active tokens"];
    let Some(policy) = policy else { return View::Details(Vec::new()) };
    let line = |what: &str, set: String, in_the_end: Option<String>| {
        [Some(what.to_owned()), Some(set), in_the_end].into_iter().flatten().collect::<Vec<_>>()
    };
    let none = || effective.map(|_| String::new());
    let mut rows = vec![line("name", policy.name.clone(), none())];
    let effective_cells = effective.map(cells);
    for (index, (rule, set)) in RULES.into_iter().zip(cells(policy)).enumerate() {
        rows.push(line(rule, set, effective_cells.as_ref().map(|cells| cells[index].clone())));
    }
    rows.push(line("existing tokens", existing_tokens(policy), none()));
    if saved == Saved::Yes {
        rows.push(line("set", time(policy.update_time.as_ref(), "never"), none()));
        rows.push(line("etag", policy.etag.clone(), none()));
    }
    let header: &[&str] = match (saved, effective.is_some()) {
        (Saved::Yes, true) => &["RULE", "POLICY", "EFFECTIVE"],
        (Saved::Yes, false) => &["RULE", "POLICY"],
        (Saved::No, true) => &["RULE", "NOT SAVED", "EFFECTIVE IF SAVED"],
        (Saved::No, false) => &["RULE", "NOT SAVED"],
    };
    View::List { header, rows, none: "" }
}

fn cells(policy: &TokenPolicy) -> [String; 6] {
    let no_rule = || NO_RULE.to_owned();
    [
        if policy.require_expiry { "yes".to_owned() } else { no_rule() },
        policy.max_lifetime.as_ref().map_or_else(no_rule, span),
        policy.default_lifetime.as_ref().map_or_else(no_rule, span),
        selection(policy.allowed_scopes.as_ref()),
        selection(policy.allowed_cidrs.as_ref()),
        policy.max_active_tokens.map_or_else(no_rule, |count| count.to_string()),
    ]
}

fn existing_tokens(policy: &TokenPolicy) -> String {
    word(policy.existing_tokens().as_str_name(), "EXISTING_TOKENS_")
}

fn selection(selection: Option<&Selection>) -> String {
    match selection {
        None | Some(Selection { all: true, only: _ }) => NO_RULE.to_owned(),
        // Two policies can leave nothing in common.
        Some(Selection { all: false, only }) if only.is_empty() => "none".to_owned(),
        Some(Selection { all: false, only }) => only.join(" "),
    }
}

/// In the notation of arguments, such as `1d 12h`.
fn span(span: &Duration) -> String {
    let (mut left, mut parts) = (span.seconds, Vec::new());
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if left >= seconds {
            parts.push(format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    match (left, span.nanos) {
        (0, 0) if !parts.is_empty() => {}
        (seconds, 0) => parts.push(format!("{seconds}s")),
        (seconds, nanos) => parts.push(format!("{}s", format!("{seconds}.{nanos:09}").trim_end_matches('0'))),
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::parse;

    fn policy() -> TokenPolicy {
        TokenPolicy {
            name: "workspaces/acme/tokenPolicy".to_owned(),
            max_lifetime: Some(Duration { seconds: 90 * 86_400, nanos: 0 }),
            allowed_scopes: Some(Selection { all: false, only: vec!["a".to_owned(), "b".to_owned()] }),
            etag: "x".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn each_rule_has_a_line() {
        let effective = TokenPolicy { require_expiry: true, allowed_scopes: Some(Selection::default()), ..policy() };
        let answer = GetTokenPolicyResponse { policy: Some(policy()), effective: Some(effective) };
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
    fn a_policy_of_a_dry_run_is_not_shown_as_if_it_were_stored() {
        let answer = UpdateTokenPolicyResponse { policy: Some(policy()), effective: Some(policy()), ..Default::default() };
        let shown = proposed(&answer).lines();
        assert!(shown.starts_with("RULE               NOT SAVED                    EFFECTIVE IF SAVED\n"), "{shown}");
        assert!(!shown.contains("etag") && !shown.contains("set  "), "{shown}");
        assert!(answer.view().lines().contains("etag"));
    }

    #[test]
    fn tokens_that_end_earlier_stand_below() {
        let affected = vec![AffectedToken { token: "workspaces/acme/tokens/x".to_owned(), expire_time: Some(Default::default()) }];
        let answer = UpdateTokenPolicyResponse { policy: Some(policy()), affected, ..Default::default() };
        let told = answer.view().lines();
        assert!(told.ends_with("\n\nTOKEN                     ENDS\nworkspaces/acme/tokens/x  1970-01-01T00:00:00Z\n"), "{told}");
    }

    #[test]
    fn spans_are_told_as_they_are_written() {
        for (seconds, nanos, told) in [
            (0, 0, "0s"),
            (45, 0, "45s"),
            (86_400, 0, "1d"),
            (129_600, 0, "1d 12h"),
            (5_400, 0, "1h 30m"),
            (1, 500_000_000, "1.5s"),
            (60, 1_000, "1m 0.000001s"),
        ] {
            let duration = Duration { seconds, nanos };
            assert_eq!(span(&duration), told);
            assert_eq!(parse::duration(told), Ok(duration));
        }
    }
}
