use tokend_core::{
    credential::{Kind, Prefix, Secret, hint},
    name::TokenName,
    time::Timestamp,
    token::{Circumstances, Revocation, Token, TokenState},
    usage::Usage,
};

use crate::{field::time_message, v1};

/// A token as it is seen at one moment.
#[derive(Clone, Copy, Debug)]
pub struct TokenView<'a> {
    /// The token.
    pub token: &'a Token,
    /// What is known of its use.
    pub usage: Option<&'a Usage>,
    /// What its life depends on besides itself.
    pub circumstances: &'a Circumstances,
    /// The moment: database time.
    pub now: Timestamp,
    /// The installation's prefix.
    pub prefix: &'a Prefix,
}

impl From<TokenView<'_>> for v1::Token {
    fn from(view: TokenView<'_>) -> Self {
        let state = match view.token.state(view.circumstances, view.now) {
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
        let of_the_workspace = |id| TokenName { workspace: name.workspace.clone(), id }.to_string();
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
            labels: labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            create_time: Some(time_message(*create_time)),
            creator: creator.name(),
            expire_time: view.token.expiry(view.circumstances).time().map(time_message),
            requested_expire_time: requested_expiry.time().map(time_message),
            revoke_time,
            revoker,
            revoke_reason,
            hint: hint(view.prefix, Kind::WorkspaceToken, digest.kid(), name.id),
            rotated_from: rotated_from.map(of_the_workspace).unwrap_or_default(),
            rotated_to: rotated_to.map(of_the_workspace).unwrap_or_default(),
            last_used_time: view.usage.map(|usage| time_message(usage.last_used_time)),
            last_used_addresses: view.usage.map(last_used_addresses).unwrap_or_default(),
            // Told with a single token alone.
            unused_scopes: Vec::new(),
        }
    }
}

fn last_used_addresses(usage: &Usage) -> Vec<String> {
    usage.addresses.iter().map(|(_, address)| address.to_string()).collect()
}

/// The secret as it leaves in the one answer that tells it.
#[must_use]
pub fn secret_text(secret: &Secret) -> String {
    secret.expose().to_owned()
}
