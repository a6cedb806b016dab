//! Resource names in arguments: `acme` is short for `workspaces/acme`.

use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

/// Arguments that name one resource.
pub(crate) trait Named: Args {
    /// Returns the full name of the resource.
    fn into_name(self) -> String;
}

/// Declares arguments that name one resource: help text, type, and the function that reads the name.
macro_rules! named {
    ($($(#[$help:meta])+ $type:ident $parse:ident,)+) => {
        $(#[derive(Debug, Args)]
        pub(crate) struct $type {
            $(#[$help])+
            #[arg(value_parser = $parse)]
            pub(super) name: String,
        }

        impl Named for $type {
            fn into_name(self) -> String {
                self.name
            }
        })+
    };
}

named! {
    /// The workspace: its name or its id
    WorkspaceName workspace,
    /// The organization: its name or its id
    OrganizationName organization,
    /// The caller: its name or its id
    CallerName caller,
    /// The key's full name, callers/CALLER/keys/ID
    CallerKeyName full_name,
    /// The owner of the policy: workspaces/WORKSPACE or a workspace's id, or organizations/ORGANIZATION
    PolicyName policy,
}

/// Reads the name or the id of a workspace.
pub(super) fn workspace(text: &str) -> Result<String, String> {
    in_collection("workspaces", text)
}

/// Reads the name or the id of an organization.
pub(super) fn organization(text: &str) -> Result<String, String> {
    in_collection("organizations", text)
}

/// Reads the name or the id of a caller.
pub(super) fn caller(text: &str) -> Result<String, String> {
    in_collection("callers", text)
}

/// Reads the owner of a token policy, and returns the policy's name: `acme` and `workspaces/acme` stand for
/// `workspaces/acme/tokenPolicy`, `organizations/initech` for `organizations/initech/tokenPolicy`.
pub(super) fn policy(text: &str) -> Result<String, String> {
    const POLICY: &str = "/tokenPolicy";
    let owner = in_collection("workspaces", text)?;
    Ok(format!("{}{POLICY}", owner.strip_suffix(POLICY).unwrap_or(&owner)))
}

/// Takes a name as it is. The service checks it.
#[expect(clippy::unnecessary_wraps, reason = "value parsers return a result")]
fn full_name(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn in_collection(collection: &str, text: &str) -> Result<String, String> {
    match text {
        "" => Err(format!("write an id, or a name of the form {collection}/ID")),
        name if name.contains('/') => Ok(name.to_owned()),
        id => Ok(format!("{collection}/{id}")),
    }
}

/// The name of a token, given in full, or as an id together with `--workspace`.
#[derive(Clone, Debug)]
pub(crate) struct TokenName(pub(super) String);

#[derive(Debug, Args)]
struct Spelling {
    /// The token: its full name, or its id together with --workspace
    #[arg(value_name = "NAME")]
    token: String,
    /// The token's workspace, if only its id is given
    #[arg(long, value_name = "WORKSPACE", value_parser = workspace)]
    workspace: Option<String>,
}

impl TokenName {
    /// Resolves a full name, or an id within `workspace`.
    ///
    /// # Errors
    /// A usage error: an id without a workspace, or a name in another workspace.
    pub(super) fn resolve(token: String, workspace: Option<&str>) -> Result<Self, clap::Error> {
        match (token.contains('/'), workspace) {
            (true, None) => Ok(Self(token)),
            (true, Some(workspace)) if token.starts_with(&format!("{workspace}/")) => Ok(Self(token)),
            (true, Some(workspace)) => Err(clap::Error::raw(
                ErrorKind::ArgumentConflict,
                format!("{token:?} is not in {workspace}, the workspace that --workspace names"),
            )),
            (false, Some(workspace)) => Ok(Self(format!("{workspace}/tokens/{token}"))),
            (false, None) => Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                format!(
                    "{token:?} is not a full name: add --workspace WORKSPACE, or write workspaces/WORKSPACE/tokens/ID"
                ),
            )),
        }
    }
}

impl Named for TokenName {
    fn into_name(self) -> String {
        self.0
    }
}

// Implemented by hand, so that a name that can't be resolved is a usage error.
impl FromArgMatches for TokenName {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Spelling { token, workspace } = Spelling::from_arg_matches(matches)?;
        Self::resolve(token, workspace.as_deref())
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for TokenName {
    fn augment_args(command: Command) -> Command {
        Spelling::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Spelling::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(token: &str, of: Option<&str>) -> Result<String, ErrorKind> {
        let workspace = of.map(|text| workspace(text).expect("a name"));
        TokenName::resolve(token.to_owned(), workspace.as_deref())
            .map(|name| name.0)
            .map_err(|error| error.kind())
    }

    #[test]
    fn an_id_is_short_for_a_name() {
        assert_eq!(workspace("acme"), Ok("workspaces/acme".to_owned()));
        assert_eq!(workspace("workspaces/acme"), Ok("workspaces/acme".to_owned()));
        assert_eq!(organization("initech"), Ok("organizations/initech".to_owned()));
        assert_eq!(caller("gate"), Ok("callers/gate".to_owned()));
        assert!(caller("").is_err());
        for text in ["acme", "workspaces/acme", "workspaces/acme/tokenPolicy"] {
            assert_eq!(policy(text), Ok("workspaces/acme/tokenPolicy".to_owned()));
        }
        assert_eq!(
            policy("organizations/initech"),
            Ok("organizations/initech/tokenPolicy".to_owned())
        );
    }

    #[test]
    fn a_token_is_named_in_full_or_by_id_and_workspace() {
        let full = "workspaces/acme/tokens/x".to_owned();
        assert_eq!(token("workspaces/acme/tokens/x", None), Ok(full.clone()));
        assert_eq!(token("workspaces/acme/tokens/x", Some("acme")), Ok(full.clone()));
        assert_eq!(token("x", Some("acme")), Ok(full.clone()));
        assert_eq!(token("x", Some("workspaces/acme")), Ok(full));
        assert_eq!(token("x", None), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(
            token("workspaces/acme/tokens/x", Some("acm")),
            Err(ErrorKind::ArgumentConflict)
        );
    }
}
