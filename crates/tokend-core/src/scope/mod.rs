//! Scopes: what a token permits. A catalog says which scopes exist and what each implies. A set of scopes is a bit set,
//! so that a check is an AND.

mod catalog;
mod grant;
mod name;
mod set;

pub use catalog::{CatalogError, Scope, ScopeCatalog};
pub use grant::{GrantError, GrantedScopes};
pub use name::{MalformedScopeName, ScopeName};
pub use set::ScopeSet;
