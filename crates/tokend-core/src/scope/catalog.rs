use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ScopeName, ScopeSet};

const DEFAULT_CATALOG: &str = include_str!("bitbucket.toml");

/// The scopes that exist, and what each implies. A catalog is written in TOML. The default is Bitbucket Cloud's for
/// workspaces.
#[derive(Debug)]
pub struct ScopeCatalog {
    version: u32,
    scopes: Vec<Scope>,
    /// From the name to the index in `scopes`, which is also the bit in a set.
    indices: BTreeMap<ScopeName, usize>,
    /// By index: the scope itself and everything that it implies, directly or indirectly.
    closures: Vec<ScopeSet>,
}

/// One scope of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The scope's name.
    pub name: ScopeName,
    /// What the scope permits, for people.
    pub description: String,
    /// The scopes that it implies directly.
    pub implies: Vec<ScopeName>,
}

/// Why a text is not a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The text is not TOML, or has other fields.
    #[error("the scope catalog can't be read: {0}")]
    Syntax(String),
    /// A scope's name is malformed.
    #[error("scope {0:?}: a scope is lower-case words with colons between them, 64 characters at most")]
    Name(String),
    /// A scope is defined twice.
    #[error("scope {0:?} is defined twice")]
    Duplicate(ScopeName),
    /// A scope implies one that is not defined.
    #[error("scope {scope:?} implies {implied:?}, which is not defined")]
    UnknownImplied {
        /// The scope.
        scope: ScopeName,
        /// The undefined scope.
        implied: String,
    },
    /// A scope implies itself, directly or indirectly.
    #[error("scope {0:?} implies itself, directly or through others")]
    Cycle(ScopeName),
    /// The catalog has no scope, or more than a set can hold.
    #[error("a catalog must have 1 to {max} scopes; this one has {0}", max = ScopeSet::CAPACITY)]
    Size(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogText {
    version: u32,
    scopes: Vec<ScopeText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeText {
    name: String,
    description: String,
    #[serde(default)]
    implies: Vec<String>,
}

impl ScopeCatalog {
    /// Parses a catalog and computes what each scope implies.
    ///
    /// # Errors
    /// [`CatalogError`], which names the scope to fix.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        let CatalogText { version, scopes } =
            toml::from_str(text).map_err(|error| CatalogError::Syntax(error.to_string()))?;
        if scopes.is_empty() || scopes.len() > ScopeSet::CAPACITY {
            return Err(CatalogError::Size(scopes.len()));
        }
        let mut indices = BTreeMap::new();
        for (index, scope) in scopes.iter().enumerate() {
            let name: ScopeName = scope.name.parse().map_err(|_| CatalogError::Name(scope.name.clone()))?;
            if indices.insert(name.clone(), index).is_some() {
                return Err(CatalogError::Duplicate(name));
            }
        }
        let scopes = scopes
            .into_iter()
            .map(|scope| scope.resolve(&indices))
            .collect::<Result<Vec<_>, _>>()?;
        let closures = close(&scopes, &indices)?;
        Ok(Self {
            version,
            scopes,
            indices,
            closures,
        })
    }

    /// Returns the default catalog: Bitbucket Cloud's scopes for workspaces.
    ///
    /// # Errors
    /// None in practice: a test parses it.
    pub fn bitbucket() -> Result<Self, CatalogError> {
        Self::from_toml(DEFAULT_CATALOG)
    }

    /// Returns the version, which is stored with each token.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Returns every scope, in the order of the catalog.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Returns the set of the scope `name`, without what it implies; `None` if the catalog lacks it.
    #[must_use]
    pub fn scope(&self, name: &str) -> Option<ScopeSet> {
        let mut set = ScopeSet::EMPTY;
        set.insert(*self.indices.get(name)?);
        Some(set)
    }

    /// Returns `set` with everything that it implies.
    #[must_use]
    pub fn closure(&self, set: ScopeSet) -> ScopeSet {
        let members = self
            .closures
            .iter()
            .enumerate()
            .filter(|(index, _)| set.contains(*index));
        members.fold(ScopeSet::EMPTY, |closed, (_, closure)| closed.union(*closure))
    }

    /// Returns the names of the scopes in `set`, in the order of the catalog.
    pub fn names(&self, set: ScopeSet) -> impl Iterator<Item = &ScopeName> + Clone {
        self.scopes
            .iter()
            .enumerate()
            .filter(move |(index, _)| set.contains(*index))
            .map(|(_, scope)| &scope.name)
    }
}

impl ScopeText {
    fn resolve(self, indices: &BTreeMap<ScopeName, usize>) -> Result<Scope, CatalogError> {
        let Self {
            name,
            description,
            implies,
        } = self;
        let name: ScopeName = name.parse().map_err(|_| CatalogError::Name(name))?;
        let implies = implies
            .into_iter()
            .map(|implied| match indices.get_key_value(implied.as_str()) {
                Some((known, _)) => Ok(known.clone()),
                None => Err(CatalogError::UnknownImplied {
                    scope: name.clone(),
                    implied,
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Scope {
            name,
            description,
            implies,
        })
    }
}

/// Computes what each scope implies: repeats over all scopes until nothing is added, at most once for each link of the
/// longest chain.
fn close(scopes: &[Scope], indices: &BTreeMap<ScopeName, usize>) -> Result<Vec<ScopeSet>, CatalogError> {
    // What each scope implies, without itself, so that a scope which reaches itself is detected.
    let mut implied = vec![ScopeSet::EMPTY; scopes.len()];
    loop {
        let before = implied.clone();
        for (index, scope) in scopes.iter().enumerate() {
            for next in scope.implies.iter().map(|name| indices[name]) {
                implied[index].insert(next);
                implied[index] = implied[index].union(implied[next]);
            }
        }
        if implied == before {
            break;
        }
    }
    for (index, closure) in implied.iter_mut().enumerate() {
        if closure.contains(index) {
            return Err(CatalogError::Cycle(scopes[index].name.clone()));
        }
        closure.insert(index);
    }
    Ok(implied)
}
