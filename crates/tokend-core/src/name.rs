//! Ids that people choose, and resource names made of those and of credential ids (AIP-122).

use std::{fmt, str::FromStr};

use crate::credential::{CredentialId, MalformedId};

/// Declares an id that a person chooses: `[a-z][a-z0-9-]{1,62}`.
macro_rules! chosen_id {
    ($(#[$doc:meta])* $name:ident, $collection:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The collection in the resource name.
            pub const COLLECTION: &'static str = $collection;

            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the resource name.
            #[must_use]
            pub fn name(&self) -> String {
                format!("{}/{}", Self::COLLECTION, self.0)
            }

            /// Parses a resource name and returns its id.
            ///
            /// # Errors
            /// [`MalformedName`] for anything else.
            pub fn from_name(name: &str) -> Result<Self, MalformedName> {
                let form = concat!($collection, "/{id}");
                let id = name.strip_prefix(Self::COLLECTION).and_then(|rest| rest.strip_prefix('/'));
                let id = id.filter(|id| !id.is_empty() && !id.contains('/')).ok_or(MalformedName::Form(form))?;
                id.parse().map_err(|MalformedChosenId| MalformedName::ChosenId { form })
            }
        }

        impl FromStr for $name {
            type Err = MalformedChosenId;

            fn from_str(text: &str) -> Result<Self, MalformedChosenId> {
                if is_chosen_id(text) { Ok(Self(text.to_owned())) } else { Err(MalformedChosenId) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

chosen_id!(
    /// A workspace's id, the `acme` of `workspaces/acme`.
    WorkspaceId, "workspaces"
);
chosen_id!(
    /// An organization's id, the `initech` of `organizations/initech`.
    OrganizationId, "organizations"
);
chosen_id!(
    /// A caller's id, the `ci-gateway` of `callers/ci-gateway`.
    CallerId, "callers"
);

/// The text does not match `[a-z][a-z0-9-]{1,62}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 2 to 63 lower-case letters, digits and hyphens, starting with a letter")]
pub struct MalformedChosenId;

/// Why a text is not a resource name of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedName {
    /// The text has another form.
    #[error("must be a name of the form {0}")]
    Form(&'static str),
    /// The text has the right form, but the id that a person chose is invalid.
    #[error("has the form {form}, but the id in it {MalformedChosenId}")]
    ChosenId {
        /// The expected form.
        form: &'static str,
    },
    /// The text has the right form, but the id that tokend generated is invalid.
    #[error("has the form {form}, but the id at its end is invalid: {MalformedId}")]
    Id {
        /// The expected form.
        form: &'static str,
    },
}

/// A token's resource name, `workspaces/{workspace}/tokens/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenName {
    /// The workspace that the token belongs to.
    pub workspace: WorkspaceId,
    /// The token's id.
    pub id: CredentialId,
}

/// A caller key's resource name, `callers/{caller}/keys/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerKeyName {
    /// The caller that the key belongs to.
    pub caller: CallerId,
    /// The key's id.
    pub id: CredentialId,
}

impl FromStr for TokenName {
    type Err = MalformedName;

    fn from_str(name: &str) -> Result<Self, MalformedName> {
        let (workspace, id) = parts(
            name,
            "/tokens/",
            "workspaces/{workspace}/tokens/{token}",
            WorkspaceId::from_name,
        )?;
        Ok(Self { workspace, id })
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/tokens/{}", WorkspaceId::COLLECTION, self.workspace, self.id)
    }
}

impl FromStr for CallerKeyName {
    type Err = MalformedName;

    fn from_str(name: &str) -> Result<Self, MalformedName> {
        let (caller, id) = parts(name, "/keys/", "callers/{caller}/keys/{key}", CallerId::from_name)?;
        Ok(Self { caller, id })
    }
}

impl fmt::Display for CallerKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/keys/{}", CallerId::COLLECTION, self.caller, self.id)
    }
}

/// Splits a name of two parts: the owner's name and a generated id. `form` is the expected form, for the error.
fn parts<T>(
    name: &str,
    collection: &str,
    form: &'static str,
    owner: impl Fn(&str) -> Result<T, MalformedName>,
) -> Result<(T, CredentialId), MalformedName> {
    let (parent, id) = name.split_once(collection).ok_or(MalformedName::Form(form))?;
    let owner = owner(parent).map_err(|malformed| match malformed {
        MalformedName::Form(_) | MalformedName::Id { .. } => MalformedName::Form(form),
        MalformedName::ChosenId { .. } => MalformedName::ChosenId { form },
    })?;
    if id.is_empty() || id.contains('/') {
        return Err(MalformedName::Form(form));
    }
    let id = id.parse().map_err(|MalformedId| MalformedName::Id { form })?;
    Ok((owner, id))
}

/// Returns whether `text` is an id that people may choose: `[a-z][a-z0-9-]{1,62}`.
pub(crate) fn is_chosen_id(text: &str) -> bool {
    (2..=63).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_ids() {
        for good in ["ab", "a-", "a1", &"a".repeat(63)] {
            assert!(good.parse::<WorkspaceId>().is_ok(), "{good}");
        }
        for bad in ["", "a", "1a", "-a", "A1", "a_b", "a/b", "ä1", &"a".repeat(64)] {
            assert_eq!(bad.parse::<WorkspaceId>(), Err(MalformedChosenId), "{bad}");
        }
    }

    #[test]
    fn names_round_trip() {
        let name = "workspaces/acme/tokens/00000000001000002";
        assert_eq!(
            name.parse::<TokenName>().map(|name| name.to_string()).as_deref(),
            Ok(name)
        );
        let key = "callers/ci/keys/00000000001000002";
        assert_eq!(
            key.parse::<CallerKeyName>().map(|name| name.to_string()).as_deref(),
            Ok(key)
        );
        assert_eq!(
            WorkspaceId::from_name("workspaces/acme").map(|id| id.name()).as_deref(),
            Ok("workspaces/acme")
        );
    }

    #[test]
    fn what_is_wrong_with_a_name_is_its_form_or_an_id_in_it() {
        let token = |name: &str| {
            name.parse::<TokenName>()
                .map_err(|malformed| malformed.to_string())
                .expect_err("malformed")
        };
        let form = "workspaces/{workspace}/tokens/{token}";
        assert_eq!(
            token("workspaces/acme/tokens"),
            format!("must be a name of the form {form}")
        );
        assert_eq!(
            token("workspaces/acme/tokens/x/y"),
            format!("must be a name of the form {form}")
        );
        let of_id = token("workspaces/acme/tokens/x");
        assert!(
            of_id.starts_with(&format!("has the form {form}, but")) && of_id.contains("17 letters or digits"),
            "{of_id}"
        );
        let of_workspace = token("workspaces/ACME/tokens/00000000001000002");
        assert!(
            of_workspace.contains("lower-case") && !of_workspace.contains("must be a name"),
            "{of_workspace}"
        );
        let caller = CallerId::from_name("callers/x").map_err(|malformed| malformed.to_string());
        assert_eq!(
            caller,
            Err(format!(
                "has the form callers/{{id}}, but the id in it {MalformedChosenId}"
            ))
        );
    }

    #[test]
    fn other_names_are_refused() {
        for bad in [
            "",
            "workspaces/acme",
            "workspaces/acme/tokens/",
            "workspaces//tokens/00000000001000002",
            "callers/ci/tokens/00000000001000002",
            "/workspaces/acme/tokens/00000000001000002",
        ] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad}");
        }
        assert!(WorkspaceId::from_name("workspaces/acme/").is_err());
        assert!(WorkspaceId::from_name("acme").is_err());
    }
}
