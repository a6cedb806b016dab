//! The tokens that `tokend token revoke` revokes: by name, or by filter.

use std::collections::{BTreeMap, BTreeSet};

use clap::{ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

use crate::client::names::{self, TokenName};

/// The tokens to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Tokens by name, grouped by workspace, without duplicates. There is at least one.
    Names(BTreeMap<String, BTreeSet<String>>),
    /// The tokens of a workspace that match a filter.
    Matching { workspace: String, filter: String },
}

impl Selection {
    /// Returns the name if exactly one token is named.
    pub(super) fn single(&self) -> Option<&str> {
        let Self::Names(named) = self else { return None };
        let mut names = named.values().flatten();
        names.next().filter(|_| names.next().is_none()).map(String::as_str)
    }
}

#[derive(Debug, Args)]
struct SelectionArgs {
    /// The tokens: their full names, or their ids together with --workspace
    #[arg(value_name = "NAME", required_unless_present = "filter", conflicts_with = "filter")]
    names: Vec<String>,
    /// The workspace of tokens that are given by id, or the workspace to filter
    #[arg(long, value_name = "WORKSPACE", value_parser = names::workspace)]
    workspace: Option<String>,
    /// All tokens of the workspace that match this filter, such as 'resource:workspaces/acme/projects/web'
    ///
    /// `tokend token list --help` describes filters.
    #[arg(long, requires = "workspace")]
    filter: Option<String>,
}

impl SelectionArgs {
    fn resolve(self) -> Result<Selection, clap::Error> {
        let Self {
            names,
            workspace,
            filter,
        } = self;
        if let Some((filter, workspace)) = filter.zip(workspace.clone()) {
            return Ok(Selection::Matching { workspace, filter });
        }
        let mut named = BTreeMap::<_, BTreeSet<_>>::new();
        for name in names {
            let TokenName(name) = TokenName::resolve(name, workspace.as_deref())?;
            let Some((workspace, _)) = name.split_once("/tokens/") else {
                let message = format!("{name:?} is not a token's name; write workspaces/WORKSPACE/tokens/ID");
                return Err(clap::Error::raw(ErrorKind::ValueValidation, message));
            };
            named.entry(workspace.to_owned()).or_default().insert(name);
        }
        Ok(Selection::Names(named))
    }
}

// Implemented by hand, so that a name that can't be resolved is a usage error.
impl FromArgMatches for Selection {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        SelectionArgs::from_arg_matches(matches)?.resolve()
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Selection {
    fn augment_args(command: Command) -> Command {
        SelectionArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        SelectionArgs::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(names: &[&str], workspace: Option<&str>, filter: Option<&str>) -> Result<Selection, ErrorKind> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let args = SelectionArgs {
            names,
            workspace: workspace.map(str::to_owned),
            filter: filter.map(str::to_owned),
        };
        args.resolve().map_err(|error| error.kind())
    }

    #[test]
    fn names_are_grouped_by_workspace_without_duplicates() {
        let named = |of: &[(&str, &[&str])]| {
            let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            Ok(Selection::Names(
                of.iter()
                    .map(|(workspace, of_it)| ((*workspace).to_owned(), names(of_it)))
                    .collect(),
            ))
        };
        let (x, y, z) = (
            "workspaces/acme/tokens/x",
            "workspaces/acme/tokens/y",
            "workspaces/globex/tokens/z",
        );
        assert_eq!(
            selection(&[z, y, x, y], None, None),
            named(&[("workspaces/acme", &[x, y]), ("workspaces/globex", &[z])])
        );
        assert_eq!(selection(&[z, z], None, None).expect("one").single(), Some(z));
        assert_eq!(selection(&[z, y], None, None).expect("two").single(), None);
        assert_eq!(
            selection(&["x", y], Some("workspaces/acme"), None),
            named(&[("workspaces/acme", &[x, y])])
        );
    }

    #[test]
    fn a_name_that_is_not_a_token_is_a_usage_error() {
        assert_eq!(selection(&["x"], None, None), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(
            selection(&["workspaces/acme/tokens/x", "y"], None, None),
            Err(ErrorKind::MissingRequiredArgument)
        );
        assert_eq!(
            selection(&["workspaces/globex/tokens/z"], Some("workspaces/acme"), None),
            Err(ErrorKind::ArgumentConflict)
        );
        assert_eq!(
            selection(&["workspaces/acme"], None, None),
            Err(ErrorKind::ValueValidation)
        );
    }

    #[test]
    fn a_filter_is_passed_on_unchanged() {
        let matching = |filter: &str| {
            Ok(Selection::Matching {
                workspace: "workspaces/acme".to_owned(),
                filter: filter.to_owned(),
            })
        };
        assert_eq!(
            selection(&[], Some("workspaces/acme"), Some("state = ACTIVE")),
            matching("state = ACTIVE")
        );
        assert_eq!(
            selection(&[], Some("workspaces/acme"), Some("")),
            matching(""),
            "the service rejects it"
        );
    }
}
