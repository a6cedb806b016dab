//! Tokens as tables.

use std::collections::BTreeMap;

use tokend_client::v1::Token;

use crate::{
    client::output::{answers, time, word},
    terminal::{Field, View},
};

/// The text for a credential without a recorded use. The server records uses up to a minute late.
pub(in crate::client) const NOT_USED: &str = "never (up to a minute late)";

const COLUMNS: &[Field<Token>] = &[
    ("NAME", |token| token.name.clone()),
    ("DISPLAY NAME", |token| token.display_name.clone()),
    ("STATE", state),
    ("EXPIRES", |token| time(token.expire_time.as_ref(), "never")),
    ("LAST USED", |token| time(token.last_used_time.as_ref(), NOT_USED)),
    ("SCOPES", |token| token.scopes.join(" ")),
];

const FIELDS: &[Field<Token>] = &[
    ("NAME", |token| token.name.clone()),
    ("DISPLAY NAME", |token| token.display_name.clone()),
    ("DESCRIPTION", |token| token.description.clone()),
    ("STATE", state),
    ("RESOURCE", |token| token.resource.clone()),
    ("SCOPES", |token| token.scopes.join(" ")),
    ("EFFECTIVE SCOPES", |token| token.effective_scopes.join(" ")),
    ("ALLOWED FROM", allowed_from),
    ("LABELS", |token| labels(&token.labels)),
    ("CREATED", |token| time(token.create_time.as_ref(), "")),
    ("CREATOR", |token| token.creator.clone()),
    ("EXPIRES", |token| time(token.expire_time.as_ref(), "never")),
    ("EXPIRY ASKED FOR", requested_expiry),
    ("LAST USED", |token| time(token.last_used_time.as_ref(), NOT_USED)),
    ("LAST USED FROM", |token| token.last_used_addresses.join(" ")),
    ("UNUSED SCOPES", |token| token.unused_scopes.join(" ")),
    ("REPLACES", |token| token.rotated_from.clone()),
    ("REPLACED BY", |token| token.rotated_to.clone()),
    ("REVOKED", |token| time(token.revoke_time.as_ref(), "")),
    ("REVOKER", |token| token.revoker.clone()),
    ("REVOKE REASON", |token| token.revoke_reason.clone()),
    ("HINT", |token| token.hint.clone()),
];

answers! {
    ListTokensResponse(answer) => View::list(&answer.tokens, COLUMNS, "There are no tokens."),
    BatchRevokeTokensResponse(answer) => View::list(&answer.tokens, COLUMNS, "No unrevoked token matches."),
    GetTokenResponse(answer) => View::details(answer.token.as_ref(), FIELDS),
    IdentifyTokenResponse(answer) => View::details(answer.token.as_ref(), FIELDS),
    RevokeTokenResponse(answer) => View::details(answer.token.as_ref(), FIELDS),
}

/// Formats labels in one line, each as `key=value`.
pub(in crate::client) fn labels(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn allowed_from(token: &Token) -> String {
    if token.allowed_cidrs.is_empty() {
        "anywhere".to_owned()
    } else {
        token.allowed_cidrs.join(" ")
    }
}

/// Shows the requested expiry if it differs from the effective one.
fn requested_expiry(token: &Token) -> String {
    let requested = token.requested_expire_time.as_ref();
    time(
        requested.filter(|_| token.requested_expire_time != token.expire_time),
        "",
    )
}

fn state(token: &Token) -> String {
    word(token.state().as_str_name(), "STATE_")
}

#[cfg(test)]
mod tests {
    use tokend_client::v1::{self, GetTokenResponse};

    use super::*;
    use crate::client::output::Answer;

    #[test]
    fn a_token_without_an_expiry_says_never_and_empty_fields_are_left_out() {
        let token = Token {
            name: "workspaces/acme/tokens/x".to_owned(),
            state: v1::token::State::Active.into(),
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]),
            ..Default::default()
        };
        assert_eq!(
            GetTokenResponse { token: Some(token) }.view().lines(),
            "NAME          workspaces/acme/tokens/x\nSTATE         ACTIVE\nALLOWED FROM  anywhere\n\
             LABELS        a=1 b=\nEXPIRES       never\nLAST USED     never (up to a minute late)\n"
        );
    }
}
