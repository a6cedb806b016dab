use std::collections::BTreeSet;

use super::{ScopeCatalog, ScopeName, ScopeSet};
use crate::text::quoted;

/// The scopes granted to one token, never empty.
///
/// Implied scopes are stored with the token, so that a later catalog never extends an old token silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedScopes {
    catalog_version: u32,
    granted: Vec<ScopeName>,
    effective: Vec<ScopeName>,
}

/// Why scopes can't be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No scope was requested.
    #[error("at least one scope must be given")]
    Empty,
    /// The catalog lacks the scope.
    #[error("{scope} is not a scope of this installation")]
    Unknown {
        /// Its index in the request.
        index: usize,
        /// Its text, quoted.
        scope: String,
    },
    /// A scope was requested twice.
    #[error("{scope} was given twice")]
    Duplicate {
        /// The index of the second occurrence.
        index: usize,
        /// The scope, quoted.
        scope: String,
    },
}

impl GrantedScopes {
    /// Grants the scopes `asked` for under `catalog`.
    ///
    /// # Errors
    /// [`GrantError`] for the first scope that can't be granted, or if there is none.
    pub fn grant<S: AsRef<str>>(catalog: &ScopeCatalog, asked: &[S]) -> Result<Self, GrantError> {
        let mut set = ScopeSet::EMPTY;
        for (index, scope) in asked.iter().map(S::as_ref).enumerate() {
            let Some(one) = catalog.scope(scope) else {
                return Err(GrantError::Unknown {
                    index,
                    scope: quoted(scope),
                });
            };
            if one.is_subset(set) {
                return Err(GrantError::Duplicate {
                    index,
                    scope: quoted(scope),
                });
            }
            set = set.union(one);
        }
        if set.is_empty() {
            return Err(GrantError::Empty);
        }
        Ok(Self {
            catalog_version: catalog.version(),
            granted: catalog.names(set).cloned().collect(),
            effective: catalog.names(catalog.closure(set)).cloned().collect(),
        })
    }

    /// Restores a stored grant; `None` if it is empty or its effective scopes lack a granted one.
    #[must_use]
    pub fn from_stored(catalog_version: u32, granted: Vec<ScopeName>, effective: Vec<ScopeName>) -> Option<Self> {
        let all: BTreeSet<_> = effective.iter().collect();
        (!granted.is_empty() && granted.iter().all(|name| all.contains(name))).then_some(Self {
            catalog_version,
            granted,
            effective,
        })
    }

    /// Returns the version of the catalog at the time of the grant.
    #[must_use]
    pub const fn catalog_version(&self) -> u32 {
        self.catalog_version
    }

    /// Returns the scopes that were requested and granted.
    #[must_use]
    pub fn granted(&self) -> &[ScopeName] {
        &self.granted
    }

    /// Returns the granted scopes with everything that they implied at the time of the grant.
    #[must_use]
    pub fn effective(&self) -> &[ScopeName] {
        &self.effective
    }

    /// Returns the effective scopes as a set of `catalog`, without those that it lacks.
    #[must_use]
    pub fn compile(&self, catalog: &ScopeCatalog) -> ScopeSet {
        let known = self.effective.iter().filter_map(|name| catalog.scope(name.as_str()));
        known.fold(ScopeSet::EMPTY, ScopeSet::union)
    }
}
