use tokend_core::scope::{Scope, ScopeCatalog};

use crate::v1;

/// The catalogue of scopes.
#[must_use]
pub fn scopes_message(catalog: &ScopeCatalog) -> v1::ListScopesResponse {
    let scope = |Scope { name, description, implies }: &Scope| v1::list_scopes_response::Scope {
        name: name.to_string(),
        description: description.clone(),
        implies: implies.iter().map(ToString::to_string).collect(),
    };
    v1::ListScopesResponse { catalog_version: catalog.version(), scopes: catalog.scopes().iter().map(scope).collect() }
}
