//! What exists in a run, as far as the clients know: organizations, workspaces, tokens and callers' keys.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use tokend_client::CallerKey;

use crate::{
    endpoint::Question,
    history::{Asks, Consistency, KeyId, TokenId, WorkspaceId},
    random::Random,
};

/// Of the tokens that background verifications ask about, so many of a hundred are ended ones.
const ENDED_PERCENT: usize = 20;
/// So many of a hundred questions are asked with any key.
const OTHER_KEY_PERCENT: usize = 10;
/// The number of tokens that count as having ended just now.
const RECENT: usize = 40;

/// What exists. The vectors are indexed by the ids of the history.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) organizations: Vec<Organization>,
    pub(crate) workspaces: Vec<Workspace>,
    tokens: Vec<Token>,
    keys: Vec<Key>,
    /// The workspaces in which tokens can be created.
    open: Vec<WorkspaceId>,
    /// The keys that nobody has attempted to revoke.
    live_keys: Vec<KeyId>,
    /// The tokens that somebody has attempted to end, oldest first.
    ended: Vec<TokenId>,
}

#[derive(Debug)]
pub(crate) struct Organization {
    pub(crate) name: String,
    /// Whether a change of its policy or of its set of workspaces is in progress.
    pub(crate) is_busy: bool,
}

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) name: String,
    /// The index of its organization.
    pub(crate) organization: Option<usize>,
    /// Whether a change of the workspace itself is in progress.
    pub(crate) is_busy: bool,
    /// The tokens that nobody has attempted to end.
    pub(crate) live: Vec<TokenId>,
}

#[derive(Debug)]
struct Token {
    name: String,
    secret: String,
    workspace: WorkspaceId,
}

#[derive(Debug)]
struct Key {
    name: String,
    caller: String,
    secret: String,
    header: CallerKey,
}

impl World {
    pub(crate) fn add_workspace(&mut self, name: String, organization: Option<usize>) {
        self.open.push(WorkspaceId(self.workspaces.len()));
        self.workspaces.push(Workspace {
            name,
            organization,
            is_busy: false,
            live: Vec::new(),
        });
    }

    pub(crate) fn add_token(&mut self, name: String, secret: String, workspace: WorkspaceId) {
        self.workspaces[workspace.0].live.push(TokenId(self.tokens.len()));
        self.tokens.push(Token {
            name,
            secret,
            workspace,
        });
    }

    pub(crate) fn add_key(&mut self, name: String, caller: String, secret: String) {
        let header = CallerKey::new(&secret).expect("the key can be sent");
        self.live_keys.push(KeyId(self.keys.len()));
        self.keys.push(Key {
            name,
            caller,
            secret,
            header,
        });
    }

    pub(crate) fn open_workspaces(&self) -> &[WorkspaceId] {
        &self.open
    }

    pub(crate) fn token_name(&self, token: TokenId) -> &str {
        &self.tokens[token.0].name
    }

    pub(crate) fn secret(&self, token: TokenId) -> &str {
        &self.tokens[token.0].secret
    }

    pub(crate) fn workspace_of(&self, token: TokenId) -> WorkspaceId {
        self.tokens[token.0].workspace
    }

    pub(crate) fn key_name(&self, key: KeyId) -> &str {
        &self.keys[key.0].name
    }

    pub(crate) fn caller_name(&self, key: KeyId) -> &str {
        &self.keys[key.0].caller
    }

    /// Returns a key that nobody has attempted to revoke.
    pub(crate) fn live_key(&self, random: &mut Random) -> Option<KeyId> {
        random.of(&self.live_keys).copied()
    }

    /// Returns a key to verify the token with, mostly the same one as before: a guard remembers only what it was asked
    /// with this key.
    pub(crate) fn key_for(&self, token: TokenId, random: &mut Random) -> Option<KeyId> {
        if random.percent(OTHER_KEY_PERCENT) {
            return self.live_key(random);
        }
        let order = BuildHasherDefault::<DefaultHasher>::default();
        let keys = self.live_keys.iter().copied();
        // Another one is the greatest only when this one is gone, or a new one comes before it.
        keys.max_by_key(|key| order.hash_one((key, token)))
    }

    /// Takes a key to end it. Some always remain.
    pub(crate) fn take_key(&mut self, random: &mut Random, least: usize) -> Option<KeyId> {
        if self.live_keys.len() <= least {
            return None;
        }
        let place = random.below(self.live_keys.len());
        Some(self.live_keys.swap_remove(place))
    }

    /// Returns a token to verify in the background.
    pub(crate) fn any_token(&self, random: &mut Random) -> Option<TokenId> {
        if random.percent(ENDED_PERCENT) && !self.ended.is_empty() {
            let recent = self.ended.len().saturating_sub(RECENT);
            let from = if random.percent(50) { recent } else { 0 };
            return random.of(&self.ended[from..]).copied();
        }
        let workspace = *random.of(&self.open)?;
        random.of(&self.workspaces[workspace.0].live).copied()
    }

    /// Returns live tokens of a workspace, at most `most`, without taking them.
    pub(crate) fn some_of(&self, workspace: WorkspaceId, most: usize) -> Vec<TokenId> {
        self.workspaces[workspace.0].live.iter().take(most).copied().collect()
    }

    /// Takes at most `count` live tokens of one workspace to end them.
    pub(crate) fn take_tokens(&mut self, random: &mut Random, count: usize) -> Vec<TokenId> {
        let Some(workspace) = random.of(&self.open).copied() else {
            return Vec::new();
        };
        let live = &mut self.workspaces[workspace.0].live;
        let mut taken = Vec::new();
        while taken.len() < count && !live.is_empty() {
            taken.push(live.swap_remove(random.below(live.len())));
        }
        self.ended.extend(&taken);
        taken
    }

    /// Takes all live tokens of a workspace, because they end with it.
    pub(crate) fn take_all(&mut self, workspace: WorkspaceId) {
        let taken = std::mem::take(&mut self.workspaces[workspace.0].live);
        self.ended.extend(taken);
    }

    /// Takes one token that was just created.
    pub(crate) fn take_token(&mut self, token: TokenId) {
        let workspace = self.workspace_of(token);
        self.workspaces[workspace.0].live.retain(|live| *live != token);
        self.ended.push(token);
    }

    /// Claims an open workspace for a change of the workspace itself.
    pub(crate) fn claim_workspace(&mut self, random: &mut Random) -> Option<WorkspaceId> {
        let workspace = *random.of(&self.open)?;
        let is_busy = &mut self.workspaces[workspace.0].is_busy;
        if *is_busy {
            return None;
        }
        *is_busy = true;
        Some(workspace)
    }

    pub(crate) fn release_workspace(&mut self, workspace: WorkspaceId) {
        self.workspaces[workspace.0].is_busy = false;
    }

    /// Creates nothing more in a workspace, because it was deleted or its state is unknown.
    pub(crate) fn close_workspace(&mut self, workspace: WorkspaceId) {
        self.open.retain(|open| *open != workspace);
        self.take_all(workspace);
    }

    /// Claims an organization for a change of its policy, with its workspaces.
    pub(crate) fn claim_organization(&mut self, random: &mut Random) -> Option<(usize, Vec<WorkspaceId>)> {
        if self.organizations.is_empty() {
            return None;
        }
        let organization = random.below(self.organizations.len());
        let workspaces = self.workspaces_in(organization);
        let open = self.open_of(&workspaces);
        let is_busy = self.organizations[organization].is_busy
            || open.iter().any(|workspace| self.workspaces[workspace.0].is_busy);
        if is_busy || open.is_empty() {
            return None;
        }
        self.organizations[organization].is_busy = true;
        for workspace in open {
            self.workspaces[workspace.0].is_busy = true;
        }
        Some((organization, workspaces))
    }

    pub(crate) fn release_organization(&mut self, organization: usize) {
        self.organizations[organization].is_busy = false;
        for workspace in self.open_of(&self.workspaces_in(organization)) {
            self.release_workspace(workspace);
        }
    }

    /// Returns those that are open.
    pub(crate) fn open_of(&self, workspaces: &[WorkspaceId]) -> Vec<WorkspaceId> {
        let is_open = |workspace: &&WorkspaceId| self.open.contains(workspace);
        workspaces.iter().filter(is_open).copied().collect()
    }

    /// Claims an organization to which a workspace is added. `None` if it is not free.
    pub(crate) fn claim_membership(&mut self, random: &mut Random) -> Option<usize> {
        // A third of the workspaces belong to no organization.
        let organization = random.below(self.organizations.len() + 1);
        let place = self.organizations.get_mut(organization)?;
        if place.is_busy {
            return None;
        }
        place.is_busy = true;
        Some(organization)
    }

    fn workspaces_in(&self, organization: usize) -> Vec<WorkspaceId> {
        let all = self.workspaces.iter().enumerate();
        all.filter(|(_, workspace)| workspace.organization == Some(organization))
            .map(|(index, _)| WorkspaceId(index))
            .collect()
    }

    pub(crate) fn question(&self, token: TokenId, key: KeyId, asks: Asks, consistency: Consistency) -> Question {
        let (token_data, key_data) = (&self.tokens[token.0], &self.keys[key.0]);
        Question {
            token,
            token_name: token_data.name.clone(),
            secret: token_data.secret.clone(),
            workspace: self.workspaces[token_data.workspace.0].name.clone(),
            asks,
            consistency,
            key,
            caller: key_data.header.clone(),
            caller_secret: key_data.secret.clone(),
        }
    }
}
