use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

/// Reads a workspace: `acme` is short for `workspaces/acme`.
pub(super) fn workspace(text: &str) -> Result<String, String> {
    in_collection("workspaces", text)
}

/// Reads an organization: `initech` is short for `organizations/initech`.
pub(super) fn organization(text: &str) -> Result<String, String> {
    in_collection("organizations", text)
}

/// Reads a caller: `ci-gateway` is short for `callers/ci-gateway`.
pub(super) fn caller(text: &str) -> Result<String, String> {
    in_collection("callers", text)
}

/// Reads whose token policy is meant: `acme` and `workspaces/acme` are short for `workspaces/acme/tokenPolicy`, `organizations/initech`
/// likewise.
pub(super) fn policy(text: &str) -> Result<String, String> {
    const POLICY: &str = "/tokenPolicy";
    let owner = in_collection("workspaces", text)?;
    Ok(format!("{}{POLICY}", owner.strip_suffix(POLICY).unwrap_or(&owner)))
}

fn in_collection(collection: &str, text: &str) -> Result<String, String> {
    match text {
        "" => Err(format!("write an id, or a name of the form {collection}/ID")),
        name if name.contains('/') => Ok(name.to_owned()),
        id => Ok(format!("{collection}/{id}")),
    }
}

/// Which token is meant: by its full name, or by its id and its workspace.
#[derive(Clone, Debug)]
pub(super) struct TokenName(pub(super) String);

#[derive(Debug, Args)]
struct Spelling {
    /// The token: its full name, or its id together with --workspace
    #[arg(value_name = "NAME")]
    token: String,
    /// The workspace of the token, if only its id is given
    #[arg(long, value_name = "WORKSPACE", value_parser = workspace)]
    workspace: Option<String>,
}

impl TokenName {
    /// The token that is meant by `token`, a full name, or an id within `workspace`.
    ///
    /// # Errors
    /// Misuse: an id without a workspace, or the name of another one's token.
    pub(super) fn resolve(token: String, workspace: Option<&str>) -> Result<Self, clap::Error> {
        match (token.contains('/'), workspace) {
            (true, None) => Ok(Self(token)),
            (true, Some(workspace)) if token.starts_with(&format!("{workspace}/")) => Ok(Self(token)),
            (true, Some(_)) => {
                Err(clap::Error::raw(ErrorKind::ArgumentConflict, "the token is of another workspace than --workspace names"))
            }
            (false, Some(workspace)) => Ok(Self(format!("{workspace}/tokens/{token}"))),
            (false, None) => Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "a token's id needs --workspace; or write the full name, workspaces/WORKSPACE/tokens/ID",
            )),
        }
    }
}

// By hand, so that a name that can't be resolved is a usage error like any other.
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
        TokenName::resolve(token.to_owned(), workspace.as_deref()).map(|name| name.0).map_err(|error| error.kind())
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
        assert_eq!(policy("organizations/initech"), Ok("organizations/initech/tokenPolicy".to_owned()));
    }

    #[test]
    fn a_token_is_named_in_full_or_by_id_and_workspace() {
        let full = "workspaces/acme/tokens/x".to_owned();
        assert_eq!(token("workspaces/acme/tokens/x", None), Ok(full.clone()));
        assert_eq!(token("workspaces/acme/tokens/x", Some("acme")), Ok(full.clone()));
        assert_eq!(token("x", Some("acme")), Ok(full.clone()));
        assert_eq!(token("x", Some("workspaces/acme")), Ok(full));
        assert_eq!(token("x", None), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(token("workspaces/acme/tokens/x", Some("acm")), Err(ErrorKind::ArgumentConflict));
    }
}
