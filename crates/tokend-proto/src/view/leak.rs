use tokend_core::leak::LeakFinding;

use crate::v1::revoke_leaked_tokens_response::{Kind, Label, Result};

/// What a reported string holds: the first of the findings, and with it the others.
#[must_use]
pub fn leak_message(findings: &[LeakFinding]) -> Result {
    match findings {
        [] => message(&LeakFinding::Foreign),
        [first, others @ ..] => Result { others: others.iter().map(message).collect(), ..message(first) },
    }
}

fn message(finding: &LeakFinding) -> Result {
    let (label, kind, token, caller_key) = match finding {
        LeakFinding::Foreign => (Label::FalsePositive, Kind::Unspecified, None, None),
        LeakFinding::Token(name) => (Label::TruePositive, Kind::WorkspaceToken, name.as_ref(), None),
        LeakFinding::CallerKey(name) => (Label::TruePositive, Kind::CallerKey, None, name.as_ref()),
    };
    Result {
        label: label.into(),
        token: token.map(ToString::to_string).unwrap_or_default(),
        kind: kind.into(),
        caller_key: caller_key.map(ToString::to_string).unwrap_or_default(),
        others: Vec::new(),
    }
}
