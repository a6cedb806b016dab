//! A table of routes: patterns of paths, and what a request with such a path needs.

use http::request::Parts;
use tokend_core::resource::Resource;

use super::{Access, Routing};

/// A table that maps requests to what they need. A row for GET applies to HEAD as well. A request that matches no row
/// is denied. If several rows match, the first one counts.
///
/// Patterns are paths whose segments are literal, or `{name}` for any one segment. The resource may contain the same
/// names. So that the service and the guard read a path alike, a segment that stands for a name must be one that a
/// resource can have, without `%`: encoded characters, `.` and `..` match nothing.
///
/// ```
/// # use tokend_client::guard::{MalformedRoute, Routes};
/// # fn routes() -> Result<Routes, MalformedRoute> {
/// Routes::default()
///     .public("GET", "/healthz")?
///     .token("GET", "/repos/{repo}", "workspaces/acme/repositories/{repo}", ["repository"])?
///     .rpc("/shop.v1.Orders/List", "workspaces/acme", ["account"])
/// # }
/// # assert!(routes().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The rows, by the number of their segments.
    by_depth: Vec<Vec<Row>>,
}

/// The pattern or resource of a route is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRoute {
    /// The pattern does not start with a slash.
    #[error("the path {0:?} must start with /")]
    Relative(String),
    /// A segment has braces, but is not a name in braces.
    #[error("the segment {0:?} must be a literal or a name in braces, such as {{repository}}")]
    Segment(String),
    /// The resource contains a name that the path does not have.
    #[error("the resource has {{{0}}}, which the path does not have")]
    UnknownName(String),
    /// The resource is invalid, whatever its names stand for.
    #[error("the resource {0:?} is invalid: it {1}")]
    Resource(String, tokend_core::resource::MalformedResource),
}

#[derive(Clone, Debug)]
struct Row {
    /// Nothing for every method.
    method: Option<String>,
    path: Vec<Segment>,
    access: RowAccess,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Name(String),
}

#[derive(Clone, Debug)]
enum RowAccess {
    Public,
    Token { resource: Vec<Part>, scopes: Vec<String> },
}

/// A segment of a resource.
#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    /// The segment of the path at this index.
    OfPath(usize),
}

impl Routes {
    /// Adds a route that needs no token. The method `*` stands for all methods.
    ///
    /// # Errors
    /// [`MalformedRoute`] if the path is malformed.
    pub fn public(self, method: &str, path: &str) -> Result<Self, MalformedRoute> {
        let path = pattern(path)?;
        Ok(self.with(method, path, RowAccess::Public))
    }

    /// Adds a route that needs a token for `resource` with all of these scopes.
    ///
    /// # Errors
    /// [`MalformedRoute`] if the path or the resource is malformed.
    pub fn token<S: Into<String>>(
        self,
        method: &str,
        path: &str,
        resource: &str,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, MalformedRoute> {
        let path = pattern(path)?;
        let resource = template(resource, &path)?;
        let scopes = scopes.into_iter().map(Into::into).collect();
        Ok(self.with(method, path, RowAccess::Token { resource, scopes }))
    }

    /// Adds a gRPC method, such as `/shop.v1.Orders/List`.
    ///
    /// # Errors
    /// [`MalformedRoute`] if the path or the resource is malformed.
    pub fn rpc<S: Into<String>>(
        self,
        path: &str,
        resource: &str,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, MalformedRoute> {
        self.token("POST", path, resource, scopes)
    }

    fn with(mut self, method: &str, path: Vec<Segment>, access: RowAccess) -> Self {
        let depth = path.len();
        if self.by_depth.len() <= depth {
            self.by_depth.resize(depth + 1, Vec::new());
        }
        self.by_depth[depth].push(Row {
            method: (method != "*").then(|| method.to_owned()),
            path,
            access,
        });
        self
    }
}

impl Routing for Routes {
    fn access(&self, request: &Parts) -> Access {
        let Some(path) = request.uri.path().strip_prefix('/') else {
            return Access::Unmapped;
        };
        let segments: Vec<_> = path.split('/').collect();
        let rows = self.by_depth.get(segments.len()).map_or(&[][..], Vec::as_slice);
        let row = rows.iter().find(|row| row.matches(request.method.as_str(), &segments));
        match row.map(|row| &row.access) {
            None => Access::Unmapped,
            Some(RowAccess::Public) => Access::Public,
            Some(RowAccess::Token { resource, scopes }) => Access::Token {
                resource: filled_in(resource, &segments),
                scopes: scopes.clone(),
            },
        }
    }
}

impl Row {
    fn matches(&self, method: &str, segments: &[&str]) -> bool {
        self.method
            .as_deref()
            .is_none_or(|own| own == method || own == "GET" && method == "HEAD")
            && self.path.iter().zip(segments).all(|(own, segment)| match own {
                Segment::Literal(literal) => literal == segment,
                Segment::Name(_) => is_plain(segment),
            })
    }
}

/// Returns whether a segment means the same to everyone who reads it, and may be a part of a resource.
fn is_plain(segment: &str) -> bool {
    !segment.contains('%') && Resource::new(format!("workspaces/any/{segment}")).is_ok() && !segment.contains('/')
}

fn filled_in(resource: &[Part], segments: &[&str]) -> String {
    let parts = resource.iter().map(|part| match part {
        Part::Literal(literal) => literal.as_str(),
        Part::OfPath(index) => segments.get(*index).copied().unwrap_or_default(),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn pattern(path: &str) -> Result<Vec<Segment>, MalformedRoute> {
    let relative = path
        .strip_prefix('/')
        .ok_or_else(|| MalformedRoute::Relative(path.to_owned()))?;
    relative.split('/').map(segment).collect()
}

fn segment(text: &str) -> Result<Segment, MalformedRoute> {
    let malformed = || MalformedRoute::Segment(text.to_owned());
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
            Ok(Segment::Name(name.to_owned()))
        }
        None if !text.contains(['{', '}']) => Ok(Segment::Literal(text.to_owned())),
        _ => Err(malformed()),
    }
}

fn template(resource: &str, path: &[Segment]) -> Result<Vec<Part>, MalformedRoute> {
    let index_of = |name: &str| {
        path.iter()
            .position(|segment| matches!(segment, Segment::Name(own) if own == name))
            .ok_or_else(|| MalformedRoute::UnknownName(name.to_owned()))
    };
    let parts = resource.split('/').map(|text| match segment(text)? {
        Segment::Literal(literal) => Ok(Part::Literal(literal)),
        Segment::Name(name) => index_of(&name).map(Part::OfPath),
    });
    let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
    let sample = filled_in(&parts, &vec!["sample"; path.len()]);
    Resource::new(sample).map_err(|error| MalformedRoute::Resource(resource.to_owned(), error))?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn routes() -> Routes {
        let resource = "workspaces/{workspace}/repositories/{repository}";
        Routes::default()
            .public("GET", "/healthz")
            .and_then(|routes| routes.token("GET", "/{workspace}/new", "workspaces/{workspace}", ["project"]))
            .and_then(|routes| routes.token("GET", "/{workspace}/{repository}", resource, ["repository"]))
            .and_then(|routes| routes.token("*", "/admin", "workspaces/acme", ["account", "project"]))
            .and_then(|routes| routes.rpc("/shop.v1.Orders/List", "workspaces/acme", ["account"]))
            .expect("well-formed")
    }

    fn access(method: &str, path: &str) -> Access {
        let request = Request::builder().method(method).uri(path).body(()).expect("a request");
        routes().access(&request.into_parts().0)
    }

    #[test]
    fn a_request_is_mapped_by_method_and_path() {
        assert_eq!(access("GET", "/healthz"), Access::Public);
        assert_eq!(access("GET", "/healthz?verbose=1"), Access::Public);
        assert_eq!(access("HEAD", "/healthz"), Access::Public);
        assert_eq!(
            access("GET", "/acme/site"),
            Access::token("workspaces/acme/repositories/site", ["repository"])
        );
        assert_eq!(
            access("DELETE", "/admin"),
            Access::token("workspaces/acme", ["account", "project"])
        );
        assert_eq!(
            access("POST", "/shop.v1.Orders/List"),
            Access::token("workspaces/acme", ["account"])
        );
    }

    #[test]
    fn the_first_row_that_matches_counts() {
        assert_eq!(
            access("GET", "/acme/new"),
            Access::token("workspaces/acme", ["project"])
        );
    }

    #[test]
    fn what_matches_no_row_is_unmapped() {
        for (method, path) in [
            ("GET", "/"),
            ("POST", "/healthz"),
            ("GET", "/healthz/"),
            ("GET", "//healthz"),
            ("GET", "/acme/site/tree"),
            ("GET", "/HEALTHZ"),
            ("GET", "/shop.v1.Orders"),
            ("OPTIONS", "*"),
        ] {
            assert_eq!(access(method, path), Access::Unmapped, "{method} {path}");
        }
    }

    #[test]
    fn a_segment_that_may_be_read_in_two_ways_matches_no_name() {
        for path in [
            "/acme/..",
            "/acme/.",
            "/acme/",
            "/acme/a%2Fb",
            "/acme/%2e%2e",
            "/acme/a;b",
            "/../site",
            "/acme/a,b",
        ] {
            assert_eq!(access("GET", path), Access::Unmapped, "{path}");
        }
    }

    #[test]
    fn malformed_rows_are_rejected() {
        let token = |path: &str, resource: &str| Routes::default().token("GET", path, resource, ["repository"]).err();
        let relative = MalformedRoute::Relative("repos".to_owned());
        assert_eq!(token("repos", "workspaces/acme"), Some(relative));
        for segment in ["{", "{}", "a{b}", "{a}b", "{a-b}", "}"] {
            let malformed = MalformedRoute::Segment(segment.to_owned());
            assert_eq!(token(&format!("/{segment}"), "workspaces/acme"), Some(malformed));
        }
        let unknown = MalformedRoute::UnknownName("other".to_owned());
        assert_eq!(token("/{name}", "workspaces/{other}"), Some(unknown));
        for resource in [
            "",
            "projects/{name}",
            "workspaces/acme/",
            "workspaces/acme/a b",
            "/workspaces/acme",
        ] {
            assert!(
                matches!(token("/{name}", resource), Some(MalformedRoute::Resource(..))),
                "{resource:?}"
            );
        }
    }
}
