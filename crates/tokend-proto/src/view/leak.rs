use tokend_core::leak::LeakFinding;

use crate::v1::revoke_leaked_tokens_response::{Kind, Label, Result};

/// What a reported string is.
#[must_use]
pub fn leak_message(finding: &LeakFinding) -> Result {
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
    }
}
