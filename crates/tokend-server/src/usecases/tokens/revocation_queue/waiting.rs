//! What waits, and in which order and portions it is done.

use std::collections::{HashMap, HashSet, VecDeque};

use tokend_core::name::{CallerId, WorkspaceId};

/// The most revocations that share a transaction. Other writes wait at most for these; on SQLite all of them do.
pub(super) const MOST_MEMBERS: usize = 64;
/// The most bytes of texts that the audit events of a transaction contain. The first revocation may have more.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// The most workspaces that are remembered as disturbed.
const MOST_DISTURBED: usize = 1_024;

/// Something that waits: a revocation, or a stand-in in tests.
#[derive(Debug)]
pub(super) struct Queued<T> {
    pub(super) caller: CallerId,
    pub(super) workspace: WorkspaceId,
    /// The bytes of text in its audit event.
    pub(super) bytes: usize,
    pub(super) item: T,
}

/// What waits, in the order of its turns.
pub(super) struct Waiting<T> {
    /// Never empty lists.
    of_caller: HashMap<CallerId, VecDeque<Queued<T>>>,
    /// The callers in `of_caller`: each has one revocation done, then the next caller has.
    turns: VecDeque<CallerId>,
    /// What can't share a transaction with other workspaces, in the order of its turns.
    aside: VecDeque<Batch<T>>,
    /// Workspaces whose last transaction failed.
    disturbed: HashSet<WorkspaceId>,
}

/// What keeps revocations from sharing a transaction with those of other workspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Another transaction has locked the workspace, or a transaction with its revocations has failed.
    Workspace,
    /// Another transaction holds the caller.
    Caller,
    /// A transaction with other revocations of the workspace has failed: this one runs alone.
    Company,
}

/// Revocations in one workspace that may share a transaction of their own.
struct Batch<T> {
    workspace: WorkspaceId,
    /// The caller, if it is the obstacle.
    caller: Option<CallerId>,
    obstacle: Obstacle,
    members: VecDeque<Queued<T>>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            of_caller: HashMap::new(),
            turns: VecDeque::new(),
            aside: VecDeque::new(),
            disturbed: HashSet::new(),
        }
    }
}

impl<T> Waiting<T> {
    /// Adds what has arrived.
    pub(super) fn push(&mut self, queued: Queued<T>) {
        if self.disturbed.contains(&queued.workspace) {
            return self.set_aside(queued, Obstacle::Workspace);
        }
        let of_caller = self.of_caller.entry(queued.caller.clone()).or_default();
        if of_caller.is_empty() {
            self.turns.push_back(queued.caller.clone());
        }
        of_caller.push_back(queued);
    }

    /// Adds what has to run apart from other workspaces.
    pub(super) fn set_aside(&mut self, queued: Queued<T>, obstacle: Obstacle) {
        let caller = (obstacle == Obstacle::Caller).then(|| queued.caller.clone());
        let same = self.aside.iter_mut().find(|batch| {
            obstacle != Obstacle::Company
                && batch.obstacle == obstacle
                && batch.workspace == queued.workspace
                && batch.caller == caller
        });
        match same {
            Some(batch) => batch.members.push_back(queued),
            None => self.aside.push_back(Batch {
                workspace: queued.workspace.clone(),
                caller,
                obstacle,
                members: VecDeque::from([queued]),
            }),
        }
    }

    /// Takes what shares the next transaction: one of each caller in turn, until it is full.
    pub(super) fn next_group(&mut self) -> Vec<Queued<T>> {
        let mut group = Portion::default();
        while let Some(caller) = self.turns.pop_front() {
            let Some(of_caller) = self.of_caller.get_mut(&caller) else {
                continue;
            };
            if !group.has_room_for(of_caller.front()) {
                self.turns.push_front(caller);
                break;
            }
            group.members.extend(of_caller.pop_front());
            if of_caller.is_empty() {
                self.of_caller.remove(&caller);
            } else {
                self.turns.push_back(caller);
            }
        }
        group.members
    }

    /// Takes what shares the next transaction of a workspace apart from others: one workspace after the other. Returns it
    /// with what keeps it apart.
    pub(super) fn next_aside(&mut self) -> Option<(Vec<Queued<T>>, Obstacle)> {
        let mut batch = self.aside.pop_front()?;
        let (mut portion, obstacle) = (Portion::default(), batch.obstacle);
        while portion.has_room_for(batch.members.front()) {
            portion.members.extend(batch.members.pop_front());
        }
        if !batch.members.is_empty() {
            self.aside.push_back(batch);
        }
        Some((portion.members, obstacle))
    }

    /// Remembers whether the last transaction of a workspace, apart from others, has failed. While it has, the workspace
    /// does not share transactions with others, so that it disturbs them only once.
    pub(super) fn set_disturbed(&mut self, workspace: &WorkspaceId, is_disturbed: bool) {
        if !is_disturbed {
            self.disturbed.remove(workspace);
        } else if self.disturbed.len() < MOST_DISTURBED {
            self.disturbed.insert(workspace.clone());
        }
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        let of_callers: usize = self.of_caller.values().map(VecDeque::len).sum();
        let aside: usize = self.aside.iter().map(|batch| batch.members.len()).sum();
        of_callers + aside
    }

    pub(super) fn has_group(&self) -> bool {
        !self.turns.is_empty()
    }

    pub(super) fn has_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> Vec<Queued<T>> {
        self.turns.clear();
        let of_callers = self.of_caller.drain().flat_map(|(_, members)| members);
        let aside = self.aside.drain(..).flat_map(|batch| batch.members);
        of_callers.chain(aside).collect()
    }
}

/// What was chosen for a transaction so far.
struct Portion<T> {
    members: Vec<Queued<T>>,
}

impl<T> Default for Portion<T> {
    fn default() -> Self {
        Self { members: Vec::new() }
    }
}

impl<T> Portion<T> {
    /// Returns whether there is a next one and it fits.
    fn has_room_for(&self, next: Option<&Queued<T>>) -> bool {
        let Some(next) = next else { return false };
        let bytes: usize = self.members.iter().map(|member| member.bytes).sum();
        self.members.is_empty() || (self.members.len() < MOST_MEMBERS && bytes + next.bytes <= MOST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(caller: &str, workspace: &str, item: usize) -> Queued<usize> {
        Queued {
            caller: caller.parse().expect("an id"),
            workspace: workspace.parse().expect("an id"),
            bytes: 100,
            item,
        }
    }

    fn items(group: Vec<Queued<usize>>) -> Vec<usize> {
        group.into_iter().map(|queued| queued.item).collect()
    }

    fn aside(waiting: &mut Waiting<usize>) -> Vec<usize> {
        waiting.next_aside().map_or_else(Vec::new, |(batch, _)| items(batch))
    }

    #[test]
    fn callers_take_turns_and_keep_their_own_order() {
        let mut waiting = Waiting::default();
        for item in 0..200 {
            waiting.push(queued("flood", "acme", item));
        }
        for item in 1_000..1_003 {
            waiting.push(queued("one", "acme", item));
        }
        let group = items(waiting.next_group());
        assert_eq!(group.len(), MOST_MEMBERS);
        assert_eq!(group[..7], [0, 1_000, 1, 1_001, 2, 1_002, 3]);
        let rest: Vec<_> = std::iter::from_fn(|| Some(waiting.next_group()).filter(|group| !group.is_empty()))
            .flat_map(items)
            .collect();
        assert_eq!(rest, (61..200).collect::<Vec<_>>());
        assert!(!waiting.has_group());
    }

    #[test]
    fn a_group_has_a_bounded_number_of_bytes() {
        let mut waiting = Waiting::default();
        for item in 0..4 {
            waiting.push(Queued {
                bytes: MOST_BYTES / 2,
                ..queued("ci", "acme", item)
            });
        }
        waiting.push(Queued {
            bytes: MOST_BYTES * 2,
            ..queued("ci", "acme", 4)
        });
        let groups = std::iter::from_fn(|| Some(items(waiting.next_group())).filter(|group| !group.is_empty()));
        assert_eq!(groups.collect::<Vec<_>>(), [vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn what_is_set_aside_runs_by_workspace_and_in_turns() {
        let mut waiting = Waiting::default();
        for item in 0..=MOST_MEMBERS {
            waiting.set_aside(queued("ci", "acme", item), Obstacle::Workspace);
        }
        waiting.set_aside(queued("ci", "globex", 100), Obstacle::Workspace);
        waiting.set_aside(queued("held", "acme", 101), Obstacle::Caller);
        waiting.set_aside(queued("ci", "acme", 102), Obstacle::Company);
        waiting.set_aside(queued("ci", "acme", 103), Obstacle::Company);
        assert_eq!(aside(&mut waiting), (0..MOST_MEMBERS).collect::<Vec<_>>());
        for alone in [100, 101, 102, 103, MOST_MEMBERS] {
            assert_eq!(aside(&mut waiting), [alone]);
        }
        assert!(!waiting.has_aside() && waiting.next_aside().is_none());
    }

    #[test]
    fn a_disturbed_workspace_stays_aside_until_it_recovers() {
        let mut waiting = Waiting::default();
        let acme = "acme".parse().expect("an id");
        waiting.set_disturbed(&acme, true);
        waiting.push(queued("ci", "acme", 0));
        waiting.push(queued("ci", "globex", 1));
        assert_eq!(items(waiting.next_group()), [1]);
        assert_eq!(aside(&mut waiting), [0]);
        waiting.set_disturbed(&acme, false);
        waiting.push(queued("ci", "acme", 2));
        assert_eq!(items(waiting.next_group()), [2]);
    }

    #[test]
    fn everything_can_be_taken() {
        let mut waiting = Waiting::default();
        waiting.push(queued("ci", "acme", 0));
        waiting.set_aside(queued("ci", "acme", 1), Obstacle::Workspace);
        assert_eq!(items(waiting.drain()), [0, 1]);
        assert!(!waiting.has_group() && !waiting.has_aside());
        waiting.push(queued("ci", "acme", 2));
        assert_eq!(items(waiting.next_group()), [2]);
    }
}
