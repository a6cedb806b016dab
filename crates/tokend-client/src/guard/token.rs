//! A verified token, and what its facts permit.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use tokend_core::{
    address::{AllowedAddresses, Networks, parse_network},
    lease::{SlotKey, Subject},
    name::TokenName,
    resource::Resource,
    time::Timestamp,
};

use crate::v1;

/// A token that was verified for the request at hand. Only a guard creates it, so whoever has one need not verify the
/// token again. Clones are cheap.
#[derive(Clone, PartialEq)]
pub struct VerifiedToken(Arc<Facts>);

/// What the service says about a token.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    message: v1::VerifiedToken,
    /// What a decision without the service needs. Nothing if the service's answer has a part that this version does not
    /// understand.
    local: Option<Local>,
}

#[derive(Clone, Debug, PartialEq)]
struct Local {
    resource: Resource,
    allowed: AllowedAddresses,
    token: SlotKey,
    workspace: SlotKey,
}

/// What a request needs of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) resource: Resource,
    pub(crate) scopes: Vec<String>,
    pub(crate) address: Option<IpAddr>,
}

impl VerifiedToken {
    pub(crate) fn new(message: v1::VerifiedToken) -> Self {
        let local = local(&message);
        Self(Arc::new(Facts { message, local }))
    }

    /// Returns the resource name, `workspaces/{workspace}/tokens/{token}`. It is not secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.message.name
    }

    /// Returns the name of the token's workspace.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.0.message.workspace
    }

    /// Returns the resource that the token is bound to.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.0.message.resource
    }

    /// Returns the name that is shown to people.
    #[must_use]
    pub fn display_name(&self) -> &str {
        &self.0.message.display_name
    }

    /// Returns the granted scopes and the scopes that they imply.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.0.message.scopes
    }

    /// Returns whether the token has the scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().iter().any(|own| own == scope)
    }

    /// Returns when the token expires; `None` if it never does.
    #[must_use]
    pub fn expire_time(&self) -> Option<Timestamp> {
        let time = self.0.message.expire_time?;
        Timestamp::from_unix_seconds(time.seconds, u32::try_from(time.nanos).ok()?).ok()
    }

    /// Returns the token's labels.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.0.message.labels
    }

    /// Returns the token as the service described it.
    #[must_use]
    pub fn message(&self) -> &v1::VerifiedToken {
        &self.0.message
    }

    /// Returns whether the facts clearly permit the request, as long as they hold. If not, only the service can decide.
    pub(crate) fn permits(&self, question: &Question) -> bool {
        let Some(local) = &self.0.local else { return false };
        local.resource.covers(&question.resource)
            && question.scopes.iter().all(|scope| self.has_scope(scope))
            && local.allowed.allow(question.address)
    }

    /// Returns the slots of the token and its workspace. Without them, the token can't be cached.
    pub(crate) fn slots(&self) -> Option<[SlotKey; 2]> {
        self.0.local.as_ref().map(|local| [local.token, local.workspace])
    }

    /// Returns how long the token was valid when the service answered: `Some(None)` for ever, `None` if the answer does
    /// not say so in a way that this version understands.
    pub(crate) fn expires_in(&self) -> Option<Option<Duration>> {
        match (&self.0.message.expire_time, &self.0.message.expires_in) {
            (None, None) => Some(None),
            (_, Some(span)) => plain_span(span).map(Some),
            (Some(_), None) => None,
        }
    }

    /// Returns about how much memory the token takes.
    pub(crate) fn bytes(&self) -> usize {
        let v1::VerifiedToken {
            name,
            workspace,
            resource,
            display_name,
            scopes,
            expire_time: _,
            expires_in: _,
            allowed_cidrs,
            labels,
        } = &self.0.message;
        /// A string's header, and what the allocator adds.
        const STRING: usize = 40;
        let texts = [name, workspace, resource, resource, display_name].into_iter();
        let texts = texts
            .chain(scopes)
            .chain(allowed_cidrs)
            .chain(labels.keys())
            .chain(labels.values());
        size_of::<Facts>() + texts.map(|text| text.len() + STRING).sum::<usize>()
    }
}

/// Parses what a decision without the service needs.
fn local(message: &v1::VerifiedToken) -> Option<Local> {
    let name: TokenName = message.name.parse().ok()?;
    let resource = Resource::new(message.resource.clone()).ok()?;
    let networks = message.allowed_cidrs.iter().map(|text| parse_network(text).ok());
    let allowed = match networks.collect::<Option<Vec<_>>>()? {
        everywhere if everywhere.is_empty() => AllowedAddresses::Any,
        networks => AllowedAddresses::Only(Networks::new(networks)?),
    };
    let workspace = name.workspace.clone();
    if !resource.is_in(&workspace) {
        return None;
    }
    Some(Local {
        resource,
        allowed,
        token: Subject::Token(name).slot(),
        workspace: Subject::Workspace(workspace).slot(),
    })
}

/// Converts a span that may be zero; `None` if it is malformed.
pub(crate) fn plain_span(span: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(span.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(span.seconds).ok()?, nanos))
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.message, f)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const NAME: &str = "workspaces/acme/tokens/00000000001000002";

    /// A token for `workspaces/acme/projects/web` with two scopes.
    pub(crate) fn message() -> v1::VerifiedToken {
        v1::VerifiedToken {
            name: NAME.to_owned(),
            workspace: "workspaces/acme".to_owned(),
            resource: "workspaces/acme/projects/web".to_owned(),
            scopes: vec!["repository".to_owned(), "repository:write".to_owned()],
            ..Default::default()
        }
    }

    pub(crate) fn question(resource: &str, scopes: &[&str], address: Option<&str>) -> Question {
        Question {
            resource: Resource::new(resource.to_owned()).expect("a resource"),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            address: address.map(|address| address.parse().expect("an address")),
        }
    }

    #[test]
    fn facts_permit_what_they_clearly_do() {
        let token = VerifiedToken::new(message());
        let permits = |resource, scopes: &[&str]| token.permits(&question(resource, scopes, None));
        assert!(permits("workspaces/acme/projects/web", &[]));
        assert!(permits(
            "workspaces/acme/projects/web/repositories/site",
            &["repository"]
        ));
        assert!(!permits("workspaces/acme", &[]));
        assert!(!permits("workspaces/acme/projects/web2", &[]));
        assert!(!permits("workspaces/acme/projects/web", &["repository", "webhook"]));
        assert!(!permits("workspaces/acme/projects/web", &["repo"]));
    }

    #[test]
    fn a_token_with_networks_permits_only_their_addresses() {
        let token = VerifiedToken::new(v1::VerifiedToken {
            allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
            ..message()
        });
        let permits = |address| token.permits(&question("workspaces/acme/projects/web", &[], address));
        assert!(permits(Some("192.0.2.7")) && permits(Some("::ffff:192.0.2.7")));
        assert!(!permits(Some("198.51.100.7")) && !permits(None));
    }

    #[test]
    fn what_is_not_understood_permits_nothing_and_has_no_slots() {
        let changes: [fn(&mut v1::VerifiedToken); 4] = [
            |token| token.name = "tokens/1".to_owned(),
            |token| token.resource = "galaxies/milky-way".to_owned(),
            |token| token.resource = "workspaces/globex".to_owned(),
            |token| token.allowed_cidrs = vec!["192.0.2.0/24".to_owned(), "tomorrow".to_owned()],
        ];
        for change in changes {
            let mut message = message();
            change(&mut message);
            let token = VerifiedToken::new(message.clone());
            assert!(token.slots().is_none(), "{message:?}");
            assert!(!token.permits(&question("workspaces/acme/projects/web", &[], None)));
        }
    }

    #[test]
    fn an_expiry_without_a_span_is_not_understood() {
        let time = prost_types::Timestamp { seconds: 1, nanos: 0 };
        let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let expires_in = |expire_time, expires_in| {
            VerifiedToken::new(v1::VerifiedToken {
                expire_time,
                expires_in,
                ..message()
            })
            .expires_in()
        };
        assert_eq!(expires_in(None, None), Some(None));
        assert_eq!(expires_in(Some(time), span(3, 5)), Some(Some(Duration::new(3, 5))));
        assert_eq!(expires_in(Some(time), None), None);
        assert_eq!(expires_in(Some(time), span(-1, 0)), None);
        assert_eq!(expires_in(Some(time), span(0, -1)), None);
    }
}
