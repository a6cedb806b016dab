use std::collections::{BTreeMap, BTreeSet};

use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

use crate::client::names::{self, TokenName};

/// Which tokens are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// These: by workspace, each once. At least one.
    Named(BTreeMap<String, BTreeSet<String>>),
    /// Those of a workspace that a filter is true of.
    Matching { workspace: String, filter: String },
}

impl Chosen {
    /// The one token that is named, if it is one.
    pub(super) fn one(&self) -> Option<&str> {
        let Self::Named(named) = self else { return None };
        let mut names = named.values().flatten();
        names.next().filter(|_| names.next().is_none()).map(String::as_str)
    }
}

#[derive(Debug, Args)]
struct Spelling {
    /// The tokens: their full names, or their ids together with --workspace
    #[arg(value_name = "NAME", required_unless_present = "filter", conflicts_with = "filter")]
    names: Vec<String>,
    /// The workspace of the tokens, if only their ids are given, or if a filter says which
    #[arg(long, value_name = "WORKSPACE", value_parser = names::workspace)]
    workspace: Option<String>,
    /// All tokens of the workspace of which this is true, such as 'resource:workspaces/acme/projects/web'
    ///
    /// `tokend token list --help` tells what a filter can say.
    #[arg(long, requires = "workspace")]
    filter: Option<String>,
}

impl Spelling {
    fn resolve(self) -> Result<Chosen, clap::Error> {
        let Self { names, workspace, filter } = self;
        if let Some((filter, workspace)) = filter.zip(workspace.clone()) {
            return Ok(Chosen::Matching { workspace, filter });
        }
        let mut named = BTreeMap::<_, BTreeSet<_>>::new();
        for name in names {
            let TokenName(name) = TokenName::resolve(name, workspace.as_deref())?;
            let Some((workspace, _)) = name.split_once("/tokens/") else {
                let sentence = format!("{name:?} is no token; write workspaces/WORKSPACE/tokens/ID");
                return Err(clap::Error::raw(ErrorKind::ValueValidation, sentence));
            };
            named.entry(workspace.to_owned()).or_default().insert(name);
        }
        Ok(Chosen::Named(named))
    }
}

// By hand, so that a name that can't be resolved is a usage error like any other.
impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Spelling::from_arg_matches(matches)?.resolve()
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Chosen {
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

    fn chosen(names: &[&str], workspace: Option<&str>, filter: Option<&str>) -> Result<Chosen, ErrorKind> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let spelling = Spelling { names, workspace: workspace.map(str::to_owned), filter: filter.map(str::to_owned) };
        spelling.resolve().map_err(|error| error.kind())
    }

    #[test]
    fn names_are_sorted_by_workspace_and_each_is_meant_once() {
        let named = |of: &[(&str, &[&str])]| {
            let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            Ok(Chosen::Named(of.iter().map(|(workspace, of_it)| ((*workspace).to_owned(), names(of_it))).collect()))
        };
        let (x, y, z) = ("workspaces/acme/tokens/x", "workspaces/acme/tokens/y", "workspaces/globex/tokens/z");
        assert_eq!(chosen(&[z, y, x, y], None, None), named(&[("workspaces/acme", &[x, y]), ("workspaces/globex", &[z])]));
        assert_eq!(chosen(&[z, z], None, None).expect("one").one(), Some(z));
        assert_eq!(chosen(&[z, y], None, None).expect("two").one(), None);
        assert_eq!(chosen(&["x", y], Some("workspaces/acme"), None), named(&[("workspaces/acme", &[x, y])]));
    }

    #[test]
    fn what_names_no_token_is_misuse() {
        assert_eq!(chosen(&["x"], None, None), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(chosen(&["workspaces/acme/tokens/x", "y"], None, None), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(chosen(&["workspaces/globex/tokens/z"], Some("workspaces/acme"), None), Err(ErrorKind::ArgumentConflict));
        assert_eq!(chosen(&["workspaces/acme"], None, None), Err(ErrorKind::ValueValidation));
    }

    #[test]
    fn a_filter_is_taken_as_it_stands() {
        let matching = |filter: &str| Ok(Chosen::Matching { workspace: "workspaces/acme".to_owned(), filter: filter.to_owned() });
        assert_eq!(chosen(&[], Some("workspaces/acme"), Some("state = ACTIVE")), matching("state = ACTIVE"));
        assert_eq!(chosen(&[], Some("workspaces/acme"), Some("")), matching(""), "that is for the service to refuse");
    }
}
