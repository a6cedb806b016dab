use tokend_core::{
    address::AllowedAddresses,
    name::TokenName,
    policy::{Allowed, AllowedScopes, ExistingTokens, Lifetime, Policy, PolicyName, PolicyState, Rules, Strictest},
    time::Timestamp,
};

use crate::{
    field::{span_message, time_message},
    v1,
};

/// Converts a stored policy. `policy` must be the parsed policy of `state`.
#[must_use]
pub fn policy_message(name: &PolicyName, policy: &Policy, state: &PolicyState) -> v1::TokenPolicy {
    let Rules {
        require_expiry,
        max_lifetime,
        default_lifetime,
        allowed_scopes,
        allowed_addresses,
        max_active_tokens,
    } = policy.rules();
    let existing_tokens = match policy.existing_tokens() {
        ExistingTokens::Keep => v1::token_policy::ExistingTokens::Keep,
        ExistingTokens::Apply => v1::token_policy::ExistingTokens::Apply,
    };
    v1::TokenPolicy {
        name: name.to_string(),
        require_expiry: *require_expiry,
        max_lifetime: max_lifetime.map(lifetime_message),
        default_lifetime: default_lifetime.map(lifetime_message),
        allowed_scopes: match allowed_scopes {
            AllowedScopes::Any => None,
            AllowedScopes::Only(names) => Some(only(names.as_set())),
        },
        allowed_cidrs: match allowed_addresses {
            AllowedAddresses::Any => None,
            AllowedAddresses::Only(networks) => Some(only(networks.as_slice())),
        },
        max_active_tokens: max_active_tokens.map(|most| i32::try_from(most.get()).unwrap_or(i32::MAX)),
        existing_tokens: existing_tokens.into(),
        update_time: state.update_time.map(time_message),
        etag: state.etag(),
    }
}

/// Converts the combined rules that bind the tokens of the workspace whose policy has this name.
#[must_use]
pub fn effective_policy_message(name: &PolicyName, rules: &Strictest) -> v1::TokenPolicy {
    let Strictest {
        require_expiry,
        max_lifetime,
        default_lifetime,
        scopes,
        networks,
        max_active_tokens,
    } = rules;
    v1::TokenPolicy {
        name: name.to_string(),
        require_expiry: *require_expiry,
        max_lifetime: max_lifetime.map(lifetime_message),
        default_lifetime: default_lifetime.map(lifetime_message),
        allowed_scopes: match scopes {
            Allowed::Any => None,
            Allowed::Only(names) => Some(only(names)),
        },
        allowed_cidrs: match networks {
            Allowed::Any => None,
            Allowed::Only(networks) => Some(only(networks)),
        },
        max_active_tokens: max_active_tokens.map(|most| i32::try_from(most.get()).unwrap_or(i32::MAX)),
        existing_tokens: v1::token_policy::ExistingTokens::Unspecified.into(),
        update_time: None,
        etag: String::new(),
    }
}

/// Converts a token that expires earlier than before.
#[must_use]
pub fn affected_token_message(token: &TokenName, end: Timestamp) -> v1::update_token_policy_response::AffectedToken {
    v1::update_token_policy_response::AffectedToken {
        token: token.to_string(),
        expire_time: Some(time_message(end)),
    }
}

fn only<T: ToString>(entries: impl IntoIterator<Item = T>) -> v1::Selection {
    v1::Selection {
        all: false,
        only: entries.into_iter().map(|entry| entry.to_string()).collect(),
    }
}

fn lifetime_message(lifetime: Lifetime) -> prost_types::Duration {
    span_message(lifetime.span())
}
