use std::collections::{HashMap, HashSet};

use super::Revision;
use crate::{
    lease::{MalformedSubject, Subject},
    name::WorkspaceId,
    row_mac::{MacInput, Sealed},
};

/// The number of tokens of one workspace in an entry. Instead of more, the entry names the workspace.
const MAX_TOKENS_OF_WORKSPACE: usize = 256;

/// One row of the feed: what the change with this revision was about. Every revision has one, so that a gap shows that
/// rows are missing (W2). `subjects` is empty for a call that found nothing left to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// The revision, with the epoch as it is stored.
    pub revision: Revision,
    /// What memory is outdated.
    pub subjects: Vec<Subject>,
}

impl FeedEntry {
    /// Creates an entry. Names each subject once, and in place of very many tokens of a workspace the workspace.
    #[must_use]
    pub fn new(revision: Revision, subjects: Vec<Subject>) -> Self {
        let mut seen = HashSet::new();
        let mut of_workspace = HashMap::<WorkspaceId, usize>::new();
        let mut once = Vec::new();
        for subject in subjects {
            if seen.insert(subject.clone()) {
                if let Subject::Token(name) = &subject {
                    *of_workspace.entry(name.workspace.clone()).or_default() += 1;
                }
                once.push(subject);
            }
        }
        let mut whole: Vec<_> = of_workspace
            .into_iter()
            .filter(|(_, tokens)| *tokens > MAX_TOKENS_OF_WORKSPACE)
            .map(|(workspace, _)| Subject::Workspace(workspace))
            .filter(|workspace| !seen.contains(workspace))
            .collect();
        whole.sort_by_key(ToString::to_string);
        let covered: HashSet<_> = seen.iter().chain(&whole).filter_map(workspace).cloned().collect();
        once.retain(|subject| !matches!(subject, Subject::Token(name) if covered.contains(&name.workspace)));
        once.extend(whole);
        Self {
            revision,
            subjects: once,
        }
    }

    /// Returns the subjects as the database stores them: their names, one per line.
    #[must_use]
    pub fn body(&self) -> String {
        let names: Vec<_> = self.subjects.iter().map(ToString::to_string).collect();
        names.join("\n")
    }

    /// Reads an entry from its stored body.
    ///
    /// # Errors
    /// [`MalformedSubject`] for a body that a later version of tokend wrote.
    pub fn from_body(revision: Revision, body: &str) -> Result<Self, MalformedSubject> {
        let subjects = body.lines().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { revision, subjects })
    }
}

fn workspace(subject: &Subject) -> Option<&WorkspaceId> {
    match subject {
        Subject::Workspace(id) => Some(id),
        _ => None,
    }
}

impl Sealed for FeedEntry {
    const TABLE: &'static str = "feed_log";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            revision: Revision { epoch, number },
            subjects: _,
        } = self;
        input.count(*epoch);
        input.count(*number);
        input.text(&self.body());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::CredentialId, name::TokenName};

    const REVISION: Revision = Revision { epoch: 1, number: 2 };

    fn token(workspace: &str, number: usize) -> Subject {
        let mut bytes = [0; CredentialId::BYTES];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Subject::Token(TokenName {
            workspace: workspace.parse().expect("an id"),
            id: CredentialId::from_bytes(bytes),
        })
    }

    fn workspace(id: &str) -> Subject {
        Subject::Workspace(id.parse().expect("an id"))
    }

    #[test]
    fn an_entry_is_read_back_from_its_body() {
        for subjects in [vec![], vec![token("acme", 1), workspace("globex")]] {
            let entry = FeedEntry::new(REVISION, subjects);
            assert_eq!(FeedEntry::from_body(REVISION, &entry.body()), Ok(entry));
        }
    }

    #[test]
    fn an_entry_names_each_subject_once() {
        let entry = FeedEntry::new(REVISION, vec![token("acme", 1), token("acme", 1), token("acme", 2)]);
        assert_eq!(entry.subjects, [token("acme", 1), token("acme", 2)]);
    }

    #[test]
    fn an_entry_names_a_workspace_in_place_of_many_tokens() {
        let mut subjects: Vec<_> = (0..=MAX_TOKENS_OF_WORKSPACE)
            .map(|number| token("acme", number))
            .collect();
        subjects.push(token("globex", 1));
        let entry = FeedEntry::new(REVISION, subjects.clone());
        assert_eq!(entry.subjects, [token("globex", 1), workspace("acme")]);
        subjects.push(workspace("acme"));
        let entry = FeedEntry::new(REVISION, subjects);
        assert_eq!(entry.subjects, [token("globex", 1), workspace("acme")]);
    }
}
