//! Admission: a token is allowed if each of the two policies allows it, and an error names every broken rule.

mod examples;
mod properties;

use tokend_core::{
    policy::{
        AdmissionError, AdmittedToken, AllowedScopes, Lifetime, Policies, RequestedToken, Rule, Rules, ScopeNames,
        Source, Violation,
    },
    scope::{GrantedScopes, ScopeCatalog},
};

use crate::samples::{at, names};

const NOW: i64 = 1_800_000_000_000_000;

fn catalog() -> ScopeCatalog {
    ScopeCatalog::bitbucket().expect("well-formed")
}

fn lifetime(micros: u64) -> Lifetime {
    Lifetime::from_micros(micros).expect("in range")
}

fn scopes(texts: &[&str]) -> AllowedScopes {
    AllowedScopes::Only(ScopeNames::new(names(texts).into_iter().collect()).expect("not empty"))
}

fn granted(texts: &[&str]) -> GrantedScopes {
    GrantedScopes::grant(&catalog(), texts).expect("of the catalogue")
}

fn admit(organization: &Rules, workspace: &Rules, asked: &RequestedToken<'_>) -> Result<AdmittedToken, AdmissionError> {
    Policies {
        organization,
        workspace,
        catalog: &catalog(),
    }
    .admit(asked, at(NOW))
}

/// Returns the broken rules and the policy of each.
fn broken(organization: &Rules, workspace: &Rules, asked: &RequestedToken<'_>) -> Vec<(Rule, Source)> {
    match admit(organization, workspace, asked) {
        Ok(_) => Vec::new(),
        Err(AdmissionError::NoExpiry) => panic!("an expiry was chosen"),
        Err(AdmissionError::Violations(violations)) => {
            assert!(!violations.is_empty());
            violations
                .into_iter()
                .map(
                    |Violation {
                         rule,
                         source,
                         remedy: _,
                     }| (rule, source),
                )
                .collect()
        }
    }
}
