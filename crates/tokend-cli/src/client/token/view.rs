use std::collections::BTreeMap;

use tokend_client::v1::{
    BatchRevokeTokensResponse, GetTokenResponse, IdentifyTokenResponse, ListTokensResponse, RevokeTokenResponse, Token,
};

use crate::client::output::{Answer, time, word};
use crate::terminal::View;

/// What stands for the time of a use that there was none of: a use is recorded within a minute.
pub(in crate::client) const NOT_USED: &str = "never (up to a minute late)";

/// Answers with a list of tokens, and what to say if there are none.
macro_rules! lists_its_tokens {
    ($($answer:ident $name:literal $none:literal),+ $(,)?) => {
        $(impl Answer for $answer {
            const MESSAGE: &'static str = $name;

            fn view(&self) -> View {
                View::List {
                    header: &["NAME", "DISPLAY NAME", "STATE", "EXPIRES", "LAST USED", "SCOPES"],
                    rows: self.tokens.iter().map(row).collect(),
                    none: $none,
                }
            }
        })+
    };
}

lists_its_tokens! {
    ListTokensResponse "tokend.v1.ListTokensResponse" "There are no tokens.",
    BatchRevokeTokensResponse "tokend.v1.BatchRevokeTokensResponse" "There is no such token that is not revoked already.",
}

/// Answers with one token.
macro_rules! shows_its_token {
    ($($answer:ident $name:literal),+ $(,)?) => {
        $(impl Answer for $answer {
            const MESSAGE: &'static str = $name;

            fn view(&self) -> View {
                View::Details(self.token.as_ref().map(fields).unwrap_or_default())
            }
        })+
    };
}

shows_its_token! {
    GetTokenResponse "tokend.v1.GetTokenResponse",
    IdentifyTokenResponse "tokend.v1.IdentifyTokenResponse",
    RevokeTokenResponse "tokend.v1.RevokeTokenResponse",
}

fn row(token: &Token) -> Vec<String> {
    vec![
        token.name.clone(),
        token.display_name.clone(),
        state(token),
        time(token.expire_time.as_ref(), "never"),
        time(token.last_used_time.as_ref(), NOT_USED),
        token.scopes.join(" "),
    ]
}

/// Labels on a line, `key=value` each.
pub(in crate::client) fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// Every field; those of the end are empty until there is one.
fn fields(token: &Token) -> Vec<(&'static str, String)> {
    let requested = token.requested_expire_time.as_ref().filter(|_| token.requested_expire_time != token.expire_time);
    let from = if token.allowed_cidrs.is_empty() { "anywhere".to_owned() } else { token.allowed_cidrs.join(" ") };
    vec![
        ("NAME", token.name.clone()),
        ("DISPLAY NAME", token.display_name.clone()),
        ("DESCRIPTION", token.description.clone()),
        ("STATE", state(token)),
        ("RESOURCE", token.resource.clone()),
        ("SCOPES", token.scopes.join(" ")),
        ("EFFECTIVE SCOPES", token.effective_scopes.join(" ")),
        ("ALLOWED FROM", from),
        ("LABELS", labels(&token.labels)),
        ("CREATED", time(token.create_time.as_ref(), "")),
        ("CREATOR", token.creator.clone()),
        ("EXPIRES", time(token.expire_time.as_ref(), "never")),
        ("EXPIRY ASKED FOR", time(requested, "")),
        ("LAST USED", time(token.last_used_time.as_ref(), NOT_USED)),
        ("LAST USED FROM", token.last_used_addresses.join(" ")),
        ("UNUSED SCOPES", token.unused_scopes.join(" ")),
        ("REPLACES", token.rotated_from.clone()),
        ("REPLACED BY", token.rotated_to.clone()),
        ("REVOKED", time(token.revoke_time.as_ref(), "")),
        ("REVOKER", token.revoker.clone()),
        ("REVOKE REASON", token.revoke_reason.clone()),
        ("HINT", token.hint.clone()),
    ]
}

fn state(token: &Token) -> String {
    word(token.state().as_str_name(), "STATE_")
}

#[cfg(test)]
mod tests {
    use tokend_client::v1;

    use super::*;

    #[test]
    fn a_token_that_never_ends_says_so_and_nothing_empty_is_shown() {
        let token = Token {
            name: "workspaces/acme/tokens/x".to_owned(),
            state: v1::token::State::Active.into(),
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]),
            ..Default::default()
        };
        assert_eq!(
            GetTokenResponse { token: Some(token) }.view().lines(),
            "NAME          workspaces/acme/tokens/x\nSTATE         ACTIVE\nALLOWED FROM  anywhere\nLABELS        a=1 b=\n\
             EXPIRES       never\nLAST USED     never (up to a minute late)\n"
        );
    }
}
