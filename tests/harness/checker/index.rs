//! The changes of a history, by what they concern.

use std::time::Duration;

use tokend_client::v1::Revision;

use crate::{
    clock::Moment,
    history::{ChangeId, Effect, History, KeyId, TokenId, Verify, WorkspaceId},
};

/// What a deadline on database time may miss on boot time, because the two clocks differ in rate.
const CLOCK_SLACK: Duration = Duration::from_millis(20);
/// How long after the answer to ResumeWorkspace a server may deny from memory. The resumption waits for nobody, but a
/// lease lasts a second, so this is generous.
const STALE: Duration = Duration::from_secs(5);

/// What the changes demand of Verifies, and what they explain.
pub(super) struct Index<'h> {
    history: &'h History,
    tokens: Vec<TokenFacts>,
    workspaces: Vec<WorkspaceFacts>,
    keys: Vec<Ends>,
}

/// When something ends for good.
#[derive(Default)]
struct Ends {
    /// The first invocation of an attempt.
    tried: Option<Moment>,
    /// The first moment from which an end is promised to hold everywhere.
    promised: Option<(Moment, ChangeId)>,
    /// The commits that ended it at once: when they were known, and their revisions.
    committed: Vec<(Moment, Option<Revision>, ChangeId)>,
}

#[derive(Default)]
struct TokenFacts {
    revoked: Ends,
    expired: Ends,
}

#[derive(Default)]
struct WorkspaceFacts {
    deleted: Ends,
    /// Promised suspensions, by their answers. The value is the invocation.
    suspended: Latest,
    /// Attempted suspensions, by their invocations. The value is the latest moment of their effect.
    suspensions: Latest,
    /// Answered resumptions, by their answers. The value is the invocation.
    resumed: Latest,
    /// Attempted resumptions, by their invocations. The value is the latest moment of their effect.
    resumptions: Latest,
    /// Promised limits, by the moment from which tokens are expired. The value is the invocation: older tokens are.
    limited: Latest,
    /// Attempted limits, by their invocations. The value is the latest moment of their effect.
    limits: Latest,
    /// Promised limits that are not yet known to hold: invocation and deadline.
    pending: Vec<(Moment, Moment, Duration, ChangeId)>,
    /// Attempted changes of policies: invocation and latest moment of the effect.
    edits: Vec<(Moment, Moment, ChangeId)>,
}

/// Entries by a key, for the question: which has the greatest value among those with a key before a moment?
#[derive(Default)]
struct Latest(Vec<(Moment, Moment, ChangeId)>);

impl Latest {
    fn add(&mut self, key: Moment, value: Moment, change: ChangeId) {
        self.0.push((key, value, change));
    }

    /// Sorts the entries, and lets each carry the greatest value so far.
    fn seal(&mut self) {
        self.0.sort_unstable_by_key(|(key, ..)| *key);
        let mut greatest: Option<(Moment, ChangeId)> = None;
        for (_, value, change) in &mut self.0 {
            match greatest {
                Some((so_far, whose)) if so_far >= *value => (*value, *change) = (so_far, whose),
                _ => greatest = Some((*value, *change)),
            }
        }
    }

    fn before(&self, moment: Moment) -> Option<(Moment, ChangeId)> {
        let (_, value, change) = self.0[..self.0.partition_point(|(key, ..)| *key < moment)].last()?;
        Some((*value, *change))
    }
}

impl Ends {
    fn try_at(&mut self, invoked: Moment) {
        self.tried = Some(self.tried.map_or(invoked, |tried| tried.min(invoked)));
    }

    fn promise(&mut self, at: Moment, change: ChangeId) {
        if self.promised.is_none_or(|(promised, _)| at < promised) {
            self.promised = Some((at, change));
        }
    }

    fn was_tried_before(&self, moment: Moment) -> bool {
        self.tried.is_some_and(|tried| tried <= moment)
    }

    fn promised_before(&self, moment: Moment) -> Option<ChangeId> {
        self.promised
            .filter(|(promised, _)| *promised < moment)
            .map(|(_, change)| change)
    }
}

impl<'h> Index<'h> {
    pub(super) fn of(history: &'h History) -> Self {
        let mut index = Self {
            history,
            tokens: history.tokens.iter().map(|_| TokenFacts::default()).collect(),
            workspaces: history.workspaces.iter().map(|_| WorkspaceFacts::default()).collect(),
            keys: history.keys.iter().map(|_| Ends::default()).collect(),
        };
        for number in 0..history.changes.len() {
            index.add(ChangeId(number));
        }
        index.workspaces.iter_mut().for_each(WorkspaceFacts::seal);
        index
    }

    fn add(&mut self, id: ChangeId) {
        let change = &self.history.changes[id.0];
        let (invoked, latest, promised) = (change.invoked, change.latest_effect(), change.promised());
        let committed = change.committed();
        let end = |ends: &mut Ends, after: Duration| {
            ends.try_at(invoked);
            let slack = if after.is_zero() { after } else { after + CLOCK_SLACK };
            if let Some(promised) = promised {
                ends.promise(promised.plus(slack), id);
            }
            if let (Some((at, revision)), true) = (committed, after.is_zero()) {
                ends.committed.push((at, revision, id));
            }
        };
        match &change.effect {
            Effect::Revoke(tokens) => {
                for token in tokens {
                    end(&mut self.tokens[token.0].revoked, Duration::ZERO);
                }
            }
            Effect::Expire { tokens, overlap } => {
                for token in tokens {
                    end(&mut self.tokens[token.0].expired, *overlap);
                }
            }
            Effect::RevokeKeys(keys) => {
                for key in keys {
                    end(&mut self.keys[key.0], Duration::ZERO);
                }
            }
            Effect::Delete(workspace) => end(&mut self.workspaces[workspace.0].deleted, Duration::ZERO),
            Effect::Suspend(workspace) => {
                let facts = &mut self.workspaces[workspace.0];
                facts.suspensions.add(invoked, latest, id);
                if let Some(promised) = promised {
                    facts.suspended.add(promised, invoked, id);
                }
            }
            Effect::Resume(workspace) => {
                let facts = &mut self.workspaces[workspace.0];
                facts.resumptions.add(invoked, latest, id);
                if let Some((at, _)) = committed {
                    facts.resumed.add(at, invoked, id);
                }
            }
            Effect::Limit { workspaces, lifetime } => {
                for workspace in workspaces {
                    let facts = &mut self.workspaces[workspace.0];
                    facts.limits.add(invoked, latest, id);
                    facts.edits.push((invoked, latest, id));
                    if let Some(promised) = promised {
                        facts.pending.push((invoked, promised, *lifetime, id));
                    }
                }
            }
            Effect::Unlimit(workspaces) => {
                for workspace in workspaces {
                    self.workspaces[workspace.0].edits.push((invoked, latest, id));
                }
            }
        }
    }

    fn workspace_of(&self, token: TokenId) -> (&WorkspaceFacts, WorkspaceId) {
        let workspace = self.history.tokens[token.0].workspace;
        (&self.workspaces[workspace.0], workspace)
    }

    /// Returns a change that promised, before the Verify started, that the token does not work.
    pub(super) fn end_of_token(&self, verify: &Verify) -> Option<ChangeId> {
        let (workspace, _) = self.workspace_of(verify.token);
        let token = &self.tokens[verify.token.0];
        let started = verify.span.invoked;
        token
            .revoked
            .promised_before(started)
            .or_else(|| token.expired.promised_before(started))
            .or_else(|| workspace.deleted.promised_before(started))
            .or_else(|| self.end_by_limit(verify))
            .or_else(|| workspace.suspended_throughout(verify))
    }

    fn end_by_limit(&self, verify: &Verify) -> Option<ChangeId> {
        let (workspace, _) = self.workspace_of(verify.token);
        let (invoked, change) = workspace.limited.before(verify.span.invoked)?;
        let created = self.history.tokens[verify.token.0].creation.responded;
        (created < invoked).then_some(change)
    }

    /// Returns a change that ended the token at once and was committed before the Verify started.
    pub(super) fn committed_before(&self, verify: &Verify) -> Option<ChangeId> {
        self.commits(verify.token)
            .find(|(at, ..)| *at < verify.span.invoked)
            .map(|(.., change)| *change)
    }

    /// Returns a change that ended the token at once with this revision or an earlier one.
    pub(super) fn committed_at(&self, verify: &Verify, wanted: Revision) -> Option<ChangeId> {
        let is_contained = |revision: Revision| revision.epoch == wanted.epoch && revision.number <= wanted.number;
        self.commits(verify.token)
            .find(|(_, revision, _)| revision.is_some_and(is_contained))
            .map(|(.., change)| *change)
    }

    fn commits(&self, token: TokenId) -> impl Iterator<Item = &(Moment, Option<Revision>, ChangeId)> {
        let (facts, (workspace, _)) = (&self.tokens[token.0], self.workspace_of(token));
        let ends = [&facts.revoked, &facts.expired, &workspace.deleted];
        ends.into_iter().flat_map(|ends| &ends.committed)
    }

    /// Returns a change that promised, before the Verify started, that the caller's key does not work.
    pub(super) fn end_of_key(&self, verify: &Verify) -> Option<ChangeId> {
        self.key(verify.key).promised_before(verify.span.invoked)
    }

    pub(super) fn explains_rejection(&self, verify: &Verify) -> bool {
        self.key(verify.key).was_tried_before(verify.span.responded)
    }

    pub(super) fn explains_revoked(&self, verify: &Verify) -> bool {
        self.tokens[verify.token.0]
            .revoked
            .was_tried_before(verify.span.responded)
    }

    pub(super) fn explains_expired(&self, verify: &Verify) -> bool {
        let token = &self.tokens[verify.token.0];
        let created = self.history.tokens[verify.token.0].creation.invoked;
        let limits = &self.workspace_of(verify.token).0.limits;
        // A limit binds no token that was created after it.
        token.expired.was_tried_before(verify.span.responded)
            || limits
                .before(verify.span.responded)
                .is_some_and(|(latest, _)| latest > created)
    }

    pub(super) fn explains_deleted(&self, verify: &Verify) -> bool {
        self.workspace_of(verify.token)
            .0
            .deleted
            .was_tried_before(verify.span.responded)
    }

    pub(super) fn explains_suspended(&self, verify: &Verify) -> bool {
        let (workspace, _) = self.workspace_of(verify.token);
        let Some((latest, _)) = workspace.suspensions.before(verify.span.responded) else {
            return false;
        };
        // A resumption that began after every suspension and was answered long ago leaves no excuse.
        workspace
            .resumed
            .before(verify.span.invoked.minus(STALE))
            .is_none_or(|(resumed, _)| latest >= resumed)
    }

    fn key(&self, key: KeyId) -> &Ends {
        &self.keys[key.0]
    }
}

impl WorkspaceFacts {
    /// Completes the index once all changes are in it.
    fn seal(&mut self) {
        for (invoked, promised, lifetime, id) in std::mem::take(&mut self.pending) {
            // A lifetime of microseconds has passed when the change commits: nothing lifts the deadline any more.
            let at_once = lifetime < Duration::from_millis(1);
            let deadline = if at_once {
                promised
            } else {
                promised.plus(lifetime + CLOCK_SLACK)
            };
            let may_be_lifted = !at_once
                && self
                    .edits
                    .iter()
                    .any(|(edited, latest, other)| *other != id && *edited < deadline && *latest > invoked);
            if !may_be_lifted {
                self.limited.add(deadline, invoked, id);
            }
        }
        for latest in [
            &mut self.suspended,
            &mut self.suspensions,
            &mut self.resumed,
            &mut self.resumptions,
            &mut self.limited,
            &mut self.limits,
        ] {
            latest.seal();
        }
    }

    /// Returns a suspension that was promised before the Verify started and that no resumption can have undone before
    /// its answer.
    fn suspended_throughout(&self, verify: &Verify) -> Option<ChangeId> {
        let (suspended, change) = self.suspended.before(verify.span.invoked)?;
        let resumed = self.resumptions.before(verify.span.responded);
        resumed.is_none_or(|(latest, _)| latest < suspended).then_some(change)
    }
}
