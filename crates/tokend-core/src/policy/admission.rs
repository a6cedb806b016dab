//! Admission: whether the policies allow a token to be created, and what they fill in.
//!
//! All rules are checked, so that the error names every rule that is broken. Nothing is narrowed silently: a token is
//! created as requested, or not at all. Policies fill in only what the request left open: the expiry and the networks.

use std::{fmt::Display, num::NonZeroU32};

use ipnet::IpNet;

use super::{
    Rules,
    strictest::{Allowed, Strictest, with_implied},
};
use crate::{
    address::{AllowedAddresses, Networks},
    scope::{GrantedScopes, ScopeCatalog},
    time::Timestamp,
    token::Expiry,
};

/// The policies that bind the tokens of one workspace. A missing policy is represented by rules that require nothing.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    /// The rules of the workspace's organization.
    pub organization: &'a Rules,
    /// The rules of the workspace itself.
    pub workspace: &'a Rules,
    /// The catalog of scopes.
    pub catalog: &'a ScopeCatalog,
}

/// The properties of a token that is to be created.
#[derive(Clone, Copy, Debug)]
pub struct RequestedToken<'a> {
    /// The chosen expiry, if one was chosen.
    pub expiry: Option<Expiry>,
    /// The scopes to grant.
    pub scopes: &'a GrantedScopes,
    /// The networks that it may be used from; [`AllowedAddresses::Any`] if none were chosen.
    pub allowed_addresses: &'a AllowedAddresses,
}

/// The properties of a token that the policies allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedToken {
    /// The chosen expiry, or the default of the policies.
    pub expiry: Expiry,
    /// The chosen networks, or those of the policies.
    pub allowed_addresses: AllowedAddresses,
}

/// Why the policies do not allow a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionError {
    /// No expiry was chosen, and no policy has a default.
    NoExpiry,
    /// The token violates rules: at least one, each listed once.
    Violations(Vec<Violation>),
}

/// A rule that a token violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The policy that the rule belongs to.
    pub source: Source,
    /// What is wrong and what to do about it, for people. Bounded in length.
    pub remedy: String,
}

/// The rules that a token can violate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The token must expire.
    RequireExpiry,
    /// The token's lifetime must not exceed a maximum.
    MaxLifetime,
    /// The token's scopes must be allowed.
    AllowedScopes,
    /// The token's networks must be allowed.
    AllowedCidrs,
}

/// The policy that a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Only the organization's policy.
    Organization,
    /// Only the workspace's policy.
    Workspace,
    /// Both policies: each has the rule, or only the two together are violated because they have nothing in common.
    Both,
}

/// How many active tokens a workspace may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// The maximum.
    pub max: NonZeroU32,
    /// The policy that sets it.
    pub source: Source,
}

impl Rule {
    /// Every rule, in the order in which violations are listed.
    pub const ALL: [Self; 4] = [
        Self::RequireExpiry,
        Self::MaxLifetime,
        Self::AllowedScopes,
        Self::AllowedCidrs,
    ];

    /// Returns the name of the rule's field in `TokenPolicy`.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::RequireExpiry => "require_expiry",
            Self::MaxLifetime => "max_lifetime",
            Self::AllowedScopes => "allowed_scopes",
            Self::AllowedCidrs => "allowed_cidrs",
        }
    }
}

impl Policies<'_> {
    /// Returns both policies combined.
    #[must_use]
    pub fn strictest(&self) -> Strictest {
        Strictest::of(self.organization, self.workspace, self.catalog)
    }

    /// Returns the token to create if the policies allow it at `now`, with its expiry and networks filled in.
    ///
    /// Scopes are compared after implication: a scope is allowed if a policy names it or a scope that implies it, and
    /// everything that the token's own scopes imply must be allowed too. The token's networks must lie within the
    /// policies' networks, compared as sets of addresses.
    ///
    /// # Errors
    /// [`AdmissionError`].
    pub fn admit(&self, asked: &RequestedToken<'_>, now: Timestamp) -> Result<AdmittedToken, AdmissionError> {
        let strictest = self.strictest();
        let by_default = || strictest.default_lifetime.map(|lifetime| Expiry::At(lifetime.end(now)));
        let expiry = asked.expiry.or_else(by_default).ok_or(AdmissionError::NoExpiry)?;
        let token = Candidate {
            expiry,
            scopes: asked.scopes,
            allowed_addresses: asked.allowed_addresses,
            now,
        };
        let violations = Rule::ALL.into_iter().filter_map(|rule| {
            let remedy = token.violation(rule, &strictest, self.catalog)?;
            let breaks = |rules| {
                token
                    .violation(
                        rule,
                        &Strictest::of(rules, &Rules::default(), self.catalog),
                        self.catalog,
                    )
                    .is_some()
            };
            Some(Violation {
                rule,
                source: Source::of(breaks(self.organization), breaks(self.workspace)),
                remedy,
            })
        });
        let violations: Vec<_> = violations.collect();
        match addresses_under(asked.allowed_addresses, &strictest) {
            Some(allowed_addresses) if violations.is_empty() => Ok(AdmittedToken {
                expiry,
                allowed_addresses,
            }),
            _ => Err(AdmissionError::Violations(violations)),
        }
    }

    /// Returns how many active tokens the workspace may have, if that is limited.
    #[must_use]
    pub fn cap(&self) -> Option<Cap> {
        let max = self.strictest().max_active_tokens?;
        let says = |rules: &Rules| rules.max_active_tokens == Some(max);
        Some(Cap {
            max,
            source: Source::of(says(self.organization), says(self.workspace)),
        })
    }
}

impl Source {
    const fn of(organization: bool, workspace: bool) -> Self {
        match (organization, workspace) {
            (true, false) => Self::Organization,
            (false, true) => Self::Workspace,
            (true, true) | (false, false) => Self::Both,
        }
    }
}

/// The requested token with its expiry filled in.
struct Candidate<'a> {
    expiry: Expiry,
    scopes: &'a GrantedScopes,
    allowed_addresses: &'a AllowedAddresses,
    now: Timestamp,
}

impl Candidate<'_> {
    /// Returns what is wrong with the token under `rule`, and what to do about it. `None` if it complies.
    fn violation(&self, rule: Rule, by: &Strictest, catalog: &ScopeCatalog) -> Option<String> {
        match rule {
            Rule::RequireExpiry => {
                let is_broken = by.require_expiry && self.expiry == Expiry::Never;
                is_broken.then(|| "a token must expire: set ttl or expire_time".to_owned())
            }
            Rule::MaxLifetime => self.outlives(by),
            Rule::AllowedScopes => self.exceeds_scopes(by, catalog),
            Rule::AllowedCidrs => self.exceeds_networks(by),
        }
    }

    fn outlives(&self, by: &Strictest) -> Option<String> {
        let longest = by.max_lifetime?.span();
        let lifetime = self.expiry.time().map(|end| end.saturating_since(self.now));
        if lifetime.is_some_and(|lifetime| lifetime <= longest) {
            return None;
        }
        let asked = lifetime.map_or_else(|| "unlimited".to_owned(), |lifetime| format!("{lifetime:?}"));
        Some(format!(
            "a token's lifetime must be at most {longest:?}, not {asked}: set ttl or expire_time within that"
        ))
    }

    fn exceeds_scopes(&self, by: &Strictest, catalog: &ScopeCatalog) -> Option<String> {
        let Allowed::Only(names) = &by.scopes else { return None };
        let allowed = with_implied(names, catalog);
        // Granted scopes first, then those that they implied when the token was created, which may be more than they
        // imply today.
        let (granted, effective) = (self.scopes.granted(), self.scopes.effective());
        let permitted = granted
            .iter()
            .chain(effective.iter().filter(|name| !granted.contains(name)));
        let excess: Vec<_> = permitted.filter(|name| !allowed.contains(*name)).collect();
        if excess.is_empty() {
            return None;
        }
        let excess = first_few(excess);
        Some(if names.is_empty() {
            "the two policies have no scope in common: change one of them first".to_owned()
        } else {
            format!(
                "a token may not have the scopes {excess}: choose among {} and the scopes that they imply",
                first_few(names)
            )
        })
    }

    fn exceeds_networks(&self, by: &Strictest) -> Option<String> {
        let Allowed::Only(allowed) = &by.networks else {
            return None;
        };
        if allowed.is_empty() {
            return Some("the two policies have no network in common: change one of them first".to_owned());
        }
        match self.allowed_addresses {
            AllowedAddresses::Any if addresses_under(&AllowedAddresses::Any, by).is_none() => {
                let (count, most) = (allowed.len(), Networks::MAX);
                Some(format!(
                    "the policies allow {count} networks, but a token can have at most {most}: set allowed_cidrs to \
                     some of them"
                ))
            }
            AllowedAddresses::Any => None,
            AllowedAddresses::Only(networks) => {
                let excess: Vec<_> = networks
                    .as_slice()
                    .iter()
                    .filter(|network| !is_covered(network, allowed))
                    .collect();
                let remedy = || {
                    format!(
                        "a token may not be used from {}: set allowed_cidrs within {}",
                        first_few(&excess),
                        first_few(allowed)
                    )
                };
                (!excess.is_empty()).then(remedy)
            }
        }
    }
}

/// Returns the token's own networks, or else those of the policies. `None` if those are empty or more than a token can
/// have. Whether the own networks are allowed is checked in [`Candidate::violation`].
fn addresses_under(own: &AllowedAddresses, by: &Strictest) -> Option<AllowedAddresses> {
    match (own, &by.networks) {
        (AllowedAddresses::Only(_), _) | (AllowedAddresses::Any, Allowed::Any) => Some(own.clone()),
        (AllowedAddresses::Any, Allowed::Only(networks)) => Networks::new(networks.clone()).map(AllowedAddresses::Only),
    }
}

/// Returns whether the networks in `list`, taken together, contain all addresses of `network`.
fn is_covered(network: &IpNet, list: &[IpNet]) -> bool {
    IpNet::aggregate(&list.to_vec())
        .iter()
        .any(|whole| whole.contains(network))
}

/// Joins the first few entries for an error message, and counts the rest.
fn first_few<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..SHOWN].join(", ")),
    }
}
