//! The stored text form of a policy: JSON with each rule that is set. Equal policies have equal texts.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{AllowedScopes, ExistingTokens, Lifetime, Policy, Rules, ScopeNames};
use crate::address::{AllowedAddresses, Networks, parse_network};

/// The text is not a policy that this version of tokend knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a policy that this version of tokend can read")]
pub struct MalformedPolicy;

/// Lifetimes are in microseconds.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyText {
    #[serde(skip_serializing_if = "is_false")]
    require_expiry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_lifetime: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_lifetime: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_cidrs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_active_tokens: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "is_false")]
    applied: bool,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules {
            require_expiry,
            max_lifetime,
            default_lifetime,
            allowed_scopes,
            allowed_addresses,
            max_active_tokens,
        } = self.rules();
        let text = PolicyText {
            require_expiry: *require_expiry,
            max_lifetime: max_lifetime.map(Lifetime::micros),
            default_lifetime: default_lifetime.map(Lifetime::micros),
            allowed_scopes: match allowed_scopes {
                AllowedScopes::Any => None,
                AllowedScopes::Only(names) => Some(names.as_set().iter().map(ToString::to_string).collect()),
            },
            allowed_cidrs: match allowed_addresses {
                AllowedAddresses::Any => None,
                AllowedAddresses::Only(networks) => Some(networks.as_slice().iter().map(ToString::to_string).collect()),
            },
            max_active_tokens: *max_active_tokens,
            applied: self.existing_tokens() == ExistingTokens::Apply,
        };
        f.write_str(&serde_json::to_string(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Policy {
    type Err = MalformedPolicy;

    fn from_str(text: &str) -> Result<Self, MalformedPolicy> {
        let PolicyText {
            require_expiry,
            max_lifetime,
            default_lifetime,
            allowed_scopes,
            allowed_cidrs,
            max_active_tokens,
            applied,
        } = serde_json::from_str(text).map_err(|_| MalformedPolicy)?;
        let lifetime = |micros: Option<u64>| {
            micros
                .map(Lifetime::from_micros)
                .transpose()
                .map_err(|_| MalformedPolicy)
        };
        let rules = Rules {
            require_expiry,
            max_lifetime: lifetime(max_lifetime)?,
            default_lifetime: lifetime(default_lifetime)?,
            allowed_scopes: allowed_scopes.map_or(Ok(AllowedScopes::Any), |names| scopes(&names))?,
            allowed_addresses: allowed_cidrs.map_or(Ok(AllowedAddresses::Any), |cidrs| addresses(&cidrs))?,
            max_active_tokens,
        };
        let existing_tokens = if applied {
            ExistingTokens::Apply
        } else {
            ExistingTokens::Keep
        };
        Self::new(rules, existing_tokens).map_err(|_| MalformedPolicy)
    }
}

fn scopes(names: &[String]) -> Result<AllowedScopes, MalformedPolicy> {
    let names: BTreeSet<_> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| MalformedPolicy)?;
    ScopeNames::new(names).map(AllowedScopes::Only).ok_or(MalformedPolicy)
}

fn addresses(cidrs: &[String]) -> Result<AllowedAddresses, MalformedPolicy> {
    let networks = cidrs
        .iter()
        .map(|cidr| parse_network(cidr))
        .collect::<Result<_, _>>()
        .map_err(|_| MalformedPolicy)?;
    Networks::new(networks)
        .map(AllowedAddresses::Only)
        .ok_or(MalformedPolicy)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
