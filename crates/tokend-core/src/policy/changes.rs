//! The difference between two versions of a policy, for the audit log.

use std::{fmt::Display, time::Duration};

use super::{AllowedScopes, ExistingTokens, Lifetime, Policy, Rules};
use crate::address::AllowedAddresses;

/// How many entries of a list are shown.
const MAX_LISTED: usize = 16;
/// Stands for a rule that is not set.
const NONE: &str = "none";

impl Policy {
    /// Describes each rule that differs in `after`: the field in the contract, the old and the new value. Says so if
    /// nothing differs.
    #[must_use]
    pub fn changes(&self, after: &Self) -> String {
        let before = rules_of(self);
        let changed = before
            .into_iter()
            .zip(rules_of(after))
            .filter(|(before, after)| before != after);
        let changes: Vec<_> = changed
            .map(|((field, before), (_, after))| format!("{field}: {before} -> {after}"))
            .collect();
        if changes.is_empty() {
            "no rule changed".to_owned()
        } else {
            changes.join("; ")
        }
    }
}

fn rules_of(policy: &Policy) -> [(&'static str, String); 7] {
    let Rules {
        require_expiry,
        max_lifetime,
        default_lifetime,
        allowed_scopes,
        allowed_addresses,
        max_active_tokens,
    } = policy.rules();
    [
        ("require_expiry", require_expiry.to_string()),
        ("max_lifetime", optional(max_lifetime.map(seconds))),
        ("default_lifetime", optional(default_lifetime.map(seconds))),
        (
            "allowed_scopes",
            match allowed_scopes {
                AllowedScopes::Any => NONE.to_owned(),
                AllowedScopes::Only(names) => list(names.as_set().iter()),
            },
        ),
        (
            "allowed_cidrs",
            match allowed_addresses {
                AllowedAddresses::Any => NONE.to_owned(),
                AllowedAddresses::Only(networks) => list(networks.as_slice().iter()),
            },
        ),
        ("max_active_tokens", optional(*max_active_tokens)),
        (
            "existing_tokens",
            match policy.existing_tokens() {
                ExistingTokens::Keep => "KEEP".to_owned(),
                ExistingTokens::Apply => "APPLY".to_owned(),
            },
        ),
    ]
}

fn optional(value: Option<impl Display>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn seconds(lifetime: Lifetime) -> String {
    let span: Duration = lifetime.span();
    format!("{} s", span.as_secs_f64())
}

fn list<T: Display>(entries: impl ExactSizeIterator<Item = T>) -> String {
    let more = entries.len().saturating_sub(MAX_LISTED);
    let shown: Vec<_> = entries.take(MAX_LISTED).map(|entry| entry.to_string()).collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::policy::ScopeNames;

    #[test]
    fn only_what_changed_is_described() {
        let max_lifetime = Lifetime::new(Duration::from_millis(1_500)).ok();
        let applied = Policy::new(
            Rules {
                max_lifetime,
                require_expiry: true,
                ..Rules::default()
            },
            ExistingTokens::Apply,
        );
        let applied = applied.expect("it fits together");
        assert_eq!(
            Policy::default().changes(&applied),
            "require_expiry: false -> true; max_lifetime: none -> 1.5 s; existing_tokens: KEEP -> APPLY"
        );
        let capped = Rules {
            max_active_tokens: NonZeroU32::new(7),
            ..applied.rules().clone()
        };
        let capped = Policy::new(capped, ExistingTokens::Apply).expect("it fits together");
        assert_eq!(capped.changes(&applied), "max_active_tokens: 7 -> none");
        assert_eq!(applied.changes(&applied), "no rule changed");
    }

    #[test]
    fn long_lists_are_cut() {
        let names = (10..30)
            .map(|n| format!("s{n}").parse().expect("a scope's name"))
            .collect();
        let allowed_scopes = AllowedScopes::Only(ScopeNames::new(names).expect("not empty"));
        let policy = Policy::new(
            Rules {
                allowed_scopes,
                ..Rules::default()
            },
            ExistingTokens::Keep,
        )
        .expect("it fits together");
        let changes = Policy::default().changes(&policy);
        assert!(
            changes.starts_with("allowed_scopes: none -> s10 s11") && changes.ends_with("s25 and 4 more"),
            "{changes}"
        );
    }
}
