use tokend_core::{
    credential::{Kind, Prefix, Secret, hint},
    leak::LeakFinding,
    name::TokenName,
    scope::{Scope, ScopeCatalog},
    time::Timestamp,
    token::usage::Usage,
    token::{Revocation, Token, TokenContext, TokenState},
};

use crate::{
    field::time_message,
    v1::{
        self,
        revoke_leaked_tokens_response::{Kind as LeakKind, Label, Result as LeakResult},
    },
};

/// A token, with everything that its message depends on.
#[derive(Clone, Copy, Debug)]
pub struct TokenView<'a> {
    /// The token.
    pub token: &'a Token,
    /// The token's usage, if it was ever used.
    pub usage: Option<&'a Usage>,
    /// What the token's state depends on besides the token.
    pub token_context: &'a TokenContext,
    /// The database time at which to determine its state.
    pub now: Timestamp,
    /// The installation's prefix.
    pub prefix: &'a Prefix,
}

impl From<TokenView<'_>> for v1::Token {
    fn from(view: TokenView<'_>) -> Self {
        let state = match view.token.state(view.token_context, view.now) {
            TokenState::Active => v1::token::State::Active,
            TokenState::Expired => v1::token::State::Expired,
            TokenState::Revoked => v1::token::State::Revoked,
            TokenState::Suspended => v1::token::State::Suspended,
        };
        let Token {
            name,
            digest,
            resource,
            display_name,
            description,
            scopes,
            allowed_addresses,
            labels,
            create_time,
            creator,
            own_expiry: _,
            requested_expiry,
            revocation,
            rotated_from,
            rotated_to,
        } = view.token;
        let of_the_workspace = |id| {
            TokenName {
                workspace: name.workspace.clone(),
                id,
            }
            .to_string()
        };
        let (revoke_time, revoker, revoke_reason) = match revocation {
            None => Default::default(),
            Some(Revocation { at, by, reason }) => (Some(time_message(*at)), by.name(), reason.to_string()),
        };
        Self {
            name: name.to_string(),
            workspace: name.workspace.name(),
            resource: resource.to_string(),
            display_name: display_name.to_string(),
            description: description.to_string(),
            state: state.into(),
            scopes: scopes.granted().iter().map(ToString::to_string).collect(),
            effective_scopes: scopes.effective().iter().map(ToString::to_string).collect(),
            allowed_cidrs: allowed_addresses.networks().iter().map(ToString::to_string).collect(),
            labels: labels
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            create_time: Some(time_message(*create_time)),
            creator: creator.name(),
            expire_time: view.token.expiry(view.token_context).time().map(time_message),
            requested_expire_time: requested_expiry.time().map(time_message),
            revoke_time,
            revoker,
            revoke_reason,
            hint: hint(view.prefix, Kind::WorkspaceToken, digest.kid(), name.id),
            rotated_from: rotated_from.map(of_the_workspace).unwrap_or_default(),
            rotated_to: rotated_to.map(of_the_workspace).unwrap_or_default(),
            last_used_time: view.usage.map(|usage| time_message(usage.last_used_time)),
            last_used_addresses: view.usage.map(last_used_addresses).unwrap_or_default(),
            // Set by GetToken only.
            unused_scopes: Vec::new(),
        }
    }
}

fn last_used_addresses(usage: &Usage) -> Vec<String> {
    usage.addresses.iter().map(|(_, address)| address.to_string()).collect()
}

/// Returns the secret for the only response that contains it.
#[must_use]
pub fn secret_text(secret: &Secret) -> String {
    secret.expose().to_owned()
}

/// Converts the findings in a reported string: the first one, with the others attached.
#[must_use]
pub fn leak_message(findings: &[LeakFinding]) -> LeakResult {
    match findings {
        [] => finding_message(&LeakFinding::Foreign),
        [first, others @ ..] => LeakResult {
            others: others.iter().map(finding_message).collect(),
            ..finding_message(first)
        },
    }
}

fn finding_message(finding: &LeakFinding) -> LeakResult {
    let (label, kind, token, caller_key) = match finding {
        LeakFinding::Foreign => (Label::FalsePositive, LeakKind::Unspecified, None, None),
        LeakFinding::Token(name) => (Label::TruePositive, LeakKind::WorkspaceToken, name.as_ref(), None),
        LeakFinding::CallerKey(name) => (Label::TruePositive, LeakKind::CallerKey, None, name.as_ref()),
    };
    LeakResult {
        label: label.into(),
        token: token.map(ToString::to_string).unwrap_or_default(),
        kind: kind.into(),
        caller_key: caller_key.map(ToString::to_string).unwrap_or_default(),
        others: Vec::new(),
    }
}

/// Converts the catalog of scopes.
#[must_use]
pub fn scopes_message(catalog: &ScopeCatalog) -> v1::ListScopesResponse {
    let scope = |Scope {
                     name,
                     description,
                     implies,
                 }: &Scope| v1::list_scopes_response::Scope {
        name: name.to_string(),
        description: description.clone(),
        implies: implies.iter().map(ToString::to_string).collect(),
    };
    v1::ListScopesResponse {
        catalog_version: catalog.version(),
        scopes: catalog.scopes().iter().map(scope).collect(),
    }
}
