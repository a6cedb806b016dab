//! Whether a token may be made under the policies of now, and what they add to it.
//!
//! All rules are looked at, so that whoever is refused learns of every one that is broken. Nothing is narrowed silently: what was asked
//! for is made as it is, or refused. Policies fill in only what was left open: an end, and the networks.

use std::{fmt::Display, num::NonZeroU32};

use ipnet::IpNet;

use super::{
    Rules,
    strictest::{Allowed, Strictest, closed},
};
use crate::{
    address::{AllowedAddresses, Networks},
    scope::{GrantedScopes, ScopeCatalog},
    time::Timestamp,
    token::Expiry,
};

/// The policies that bind what is made in one workspace. Where there is none, rules that demand nothing.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    /// Its organization's.
    pub organization: &'a Rules,
    /// Its own.
    pub workspace: &'a Rules,
    /// What scopes imply.
    pub catalog: &'a ScopeCatalog,
}

/// What is asked of a token that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// When it is to end, if that was chosen.
    pub expiry: Option<Expiry>,
    /// What it is to permit.
    pub scopes: &'a GrantedScopes,
    /// Where it is to be used from; [`AllowedAddresses::Any`] if nothing was said of it.
    pub allowed_addresses: &'a AllowedAddresses,
}

/// What policies leave to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// When it ends: as it was chosen, or else by default.
    pub expiry: Expiry,
    /// Where it may be used from: as it was asked for, or else from where the policies say.
    pub allowed_addresses: AllowedAddresses,
}

/// Why a token is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Its end was not chosen, and no policy has a default.
    NoExpiry,
    /// It breaks these rules, each of which stands there once; at least one.
    Violations(Vec<Violation>),
}

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Of whose policy.
    pub of: Source,
    /// What is wrong and what to do, for people; bounded in length.
    pub remedy: String,
}

/// The rules that a token can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// It has an end.
    RequireExpiry,
    /// Its end lies near enough.
    MaxLifetime,
    /// It permits nothing else.
    AllowedScopes,
    /// It is used from nowhere else.
    AllowedCidrs,
}

/// Whose policy a rule is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The organization's alone.
    Organization,
    /// The workspace's alone.
    Workspace,
    /// That of each. Or of neither by itself: the two leave nothing.
    Both,
}

/// How many tokens may work at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Most.
    pub most: NonZeroU32,
    /// Whose policy says so.
    pub of: Source,
}

impl Rule {
    /// Every rule, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::RequireExpiry, Self::MaxLifetime, Self::AllowedScopes, Self::AllowedCidrs];

    /// The rule's field in the contract.
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
    /// Both as one.
    #[must_use]
    pub fn strictest(&self) -> Strictest {
        Strictest::of(self.organization, self.workspace, self.catalog)
    }

    /// Whether a token may be made at `now`, and with what end and networks.
    ///
    /// What counts is what it permits in the end: a scope is allowed if a policy names it or names one that implies it, and then so is
    /// what it implies itself. A token's networks lie within the policies', as sets of addresses.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn admit(&self, asked: &Asked<'_>, now: Timestamp) -> Result<Admitted, NotAdmitted> {
        let strictest = self.strictest();
        let by_default = || strictest.default_lifetime.map(|lifetime| Expiry::At(lifetime.end(now)));
        let expiry = asked.expiry.or_else(by_default).ok_or(NotAdmitted::NoExpiry)?;
        let token = Candidate { expiry, scopes: asked.scopes, allowed_addresses: asked.allowed_addresses, now };
        let violations = Rule::ALL.into_iter().filter_map(|rule| {
            let remedy = token.breaks(rule, &strictest, self.catalog)?;
            let breaks = |rules| token.breaks(rule, &Strictest::of(rules, &Rules::default(), self.catalog), self.catalog).is_some();
            Some(Violation { rule, of: Source::of(breaks(self.organization), breaks(self.workspace)), remedy })
        });
        let violations: Vec<_> = violations.collect();
        match addresses_under(asked.allowed_addresses, &strictest) {
            Some(allowed_addresses) if violations.is_empty() => Ok(Admitted { expiry, allowed_addresses }),
            _ => Err(NotAdmitted::Violations(violations)),
        }
    }

    /// How many tokens of the workspace may work at once, if that is limited.
    #[must_use]
    pub fn cap(&self) -> Option<Cap> {
        let most = self.strictest().max_active_tokens?;
        let says = |rules: &Rules| rules.max_active_tokens == Some(most);
        Some(Cap { most, of: Source::of(says(self.organization), says(self.workspace)) })
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

/// A token as it would be made, but for its networks if it has none of its own.
struct Candidate<'a> {
    expiry: Expiry,
    scopes: &'a GrantedScopes,
    allowed_addresses: &'a AllowedAddresses,
    now: Timestamp,
}

impl Candidate<'_> {
    /// What is wrong with it by this rule, and what to do.
    fn breaks(&self, rule: Rule, by: &Strictest, catalog: &ScopeCatalog) -> Option<String> {
        match rule {
            Rule::RequireExpiry => {
                let is_broken = by.require_expiry && self.expiry == Expiry::Never;
                is_broken.then(|| "a token must have an end: choose ttl or expire_time".to_owned())
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
        let asked = lifetime.map_or_else(|| "without an end".to_owned(), |lifetime| format!("{lifetime:?}"));
        Some(format!("a token may live for {longest:?} at most, not {asked}: choose a ttl or an expire_time within that"))
    }

    fn exceeds_scopes(&self, by: &Strictest, catalog: &ScopeCatalog) -> Option<String> {
        let Allowed::Only(names) = &by.scopes else { return None };
        let allowed = closed(names, catalog);
        // First those that were asked for, then what they implied when the token was made, which an old catalogue may have known more of.
        let (granted, effective) = (self.scopes.granted(), self.scopes.effective());
        let permitted = granted.iter().chain(effective.iter().filter(|name| !granted.contains(name)));
        let excess: Vec<_> = permitted.filter(|name| !allowed.contains(*name)).collect();
        if excess.is_empty() {
            return None;
        }
        let excess = told(excess);
        Some(if names.is_empty() {
            "no scope is allowed by both policies: one of them has to change first".to_owned()
        } else {
            format!("a token may not permit {excess}: choose among {} and what they imply", told(names))
        })
    }

    fn exceeds_networks(&self, by: &Strictest) -> Option<String> {
        let Allowed::Only(allowed) = &by.networks else { return None };
        if allowed.is_empty() {
            return Some("no network is allowed by both policies: one of them has to change first".to_owned());
        }
        match self.allowed_addresses {
            AllowedAddresses::Any if addresses_under(&AllowedAddresses::Any, by).is_none() => {
                let (count, most) = (allowed.len(), Networks::MAX);
                Some(format!(
                    "the policies leave {count} networks, and a token has {most} at most: choose allowed_cidrs among them"
                ))
            }
            AllowedAddresses::Any => None,
            AllowedAddresses::Only(networks) => {
                let excess: Vec<_> = networks.as_slice().iter().filter(|network| !is_covered(network, allowed)).collect();
                let remedy = || format!("a token may not be used from {}: choose networks within {}", told(&excess), told(allowed));
                (!excess.is_empty()).then(remedy)
            }
        }
    }
}

/// Where a token may be used from that asked for `own`: its own networks, which [`Candidate::breaks`] judges, or else those of the
/// policies. `None` if a token can't have as few or as many as they are.
fn addresses_under(own: &AllowedAddresses, by: &Strictest) -> Option<AllowedAddresses> {
    match (own, &by.networks) {
        (AllowedAddresses::Only(_), _) | (AllowedAddresses::Any, Allowed::Any) => Some(own.clone()),
        (AllowedAddresses::Any, Allowed::Only(networks)) => Networks::new(networks.clone()).map(AllowedAddresses::Only),
    }
}

/// Whether all addresses of `network` are in the networks of `list`, perhaps in several of them.
fn is_covered(network: &IpNet, list: &[IpNet]) -> bool {
    IpNet::aggregate(&list.to_vec()).iter().any(|whole| whole.contains(network))
}

/// A list for people, cut after a few.
fn told<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..SHOWN].join(", ")),
    }
}
