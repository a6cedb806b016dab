//! What a request needs: nothing, or a token for a resource with scopes.

use http::request::Parts;

/// What a request needs before it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The request needs no token. Must be said explicitly, for example for a health check.
    Public,
    /// The request needs a token that covers the resource and has all of the scopes.
    Token {
        /// The resource that the request accesses, such as `workspaces/acme/repositories/site`.
        resource: String,
        /// The required scopes. May be empty: then any token for the resource is enough.
        scopes: Vec<String>,
    },
    /// Nobody has decided what the request needs. It is denied, whatever token it has.
    Unmapped,
}

impl Access {
    /// Returns the access that needs a token for `resource` with all of these scopes.
    pub fn token<S: Into<String>>(resource: impl Into<String>, scopes: impl IntoIterator<Item = S>) -> Self {
        Self::Token {
            resource: resource.into(),
            scopes: scopes.into_iter().map(Into::into).collect(),
        }
    }
}

/// Maps a request to what it needs. Implemented by closures and by [`Routes`](super::Routes).
pub trait Routing {
    /// Returns what the request needs.
    fn access(&self, request: &Parts) -> Access;
}

impl<F: Fn(&Parts) -> Access> Routing for F {
    fn access(&self, request: &Parts) -> Access {
        self(request)
    }
}
