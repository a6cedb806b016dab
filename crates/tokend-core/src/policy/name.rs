use std::{fmt, str::FromStr};

use crate::name::{MalformedName, OrganizationId, WorkspaceId};

/// The resource name of a policy: `organizations/{organization}/tokenPolicy` or `workspaces/{workspace}/tokenPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// The policy of an organization, which binds all its workspaces.
    Organization(OrganizationId),
    /// The policy of one workspace.
    Workspace(WorkspaceId),
}

impl PolicyName {
    /// Returns the resource name of the organization or workspace.
    #[must_use]
    pub fn owner(&self) -> String {
        match self {
            Self::Organization(id) => id.name(),
            Self::Workspace(id) => id.name(),
        }
    }
}

impl FromStr for PolicyName {
    type Err = MalformedName;

    fn from_str(name: &str) -> Result<Self, MalformedName> {
        let malformed =
            MalformedName::Form("workspaces/{workspace}/tokenPolicy or organizations/{organization}/tokenPolicy");
        let owner = name.strip_suffix("/tokenPolicy").ok_or(malformed)?;
        match (OrganizationId::from_name(owner), WorkspaceId::from_name(owner)) {
            (Ok(id), _) => Ok(Self::Organization(id)),
            (_, Ok(id)) => Ok(Self::Workspace(id)),
            (Err(MalformedName::ChosenId { .. }), _) | (_, Err(MalformedName::ChosenId { .. })) => {
                Err(MalformedName::ChosenId {
                    form: "workspaces/{workspace}/tokenPolicy or organizations/{organization}/tokenPolicy",
                })
            }
            _ => Err(malformed),
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/tokenPolicy", self.owner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["organizations/initech/tokenPolicy", "workspaces/acme/tokenPolicy"] {
            let policy: PolicyName = name.parse().expect("well-formed");
            assert_eq!(policy.to_string(), name);
            assert_eq!(format!("{}/tokenPolicy", policy.owner()), name);
        }
        for bad in [
            "",
            "tokenPolicy",
            "workspaces/acme",
            "workspaces/acme/tokenPolicy/",
            "workspaces/acme/tokenpolicy",
            "workspaces/acme/tokens/tokenPolicy",
            "workspaces//tokenPolicy",
            "callers/ci/tokenPolicy",
            "workspaces/ACME/tokenPolicy",
        ] {
            assert!(bad.parse::<PolicyName>().is_err(), "{bad}");
        }
    }
}
