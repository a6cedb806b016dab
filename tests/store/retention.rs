//! Whatever happens to tokens, a purge takes those away whose end has been on record for long enough, and no others: not one that works.

use std::{collections::BTreeMap, time::Duration};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tokend_core::{
    expiry_notice::{ExpiryNotice, Told},
    name::WorkspaceId,
    text::Reason,
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_server::retention::purge;
use tokend_store::{Insert, Noted, Store, StoreError, WriteTx};

use crate::support::{Fixture, insert_token, insert_workspace, workspace};

mod sqlite {
    #[test]
    fn random_histories() {
        super::run(tokend_tests::Storage::Sqlite);
    }
}
mod postgres {
    #[test]
    fn random_histories() {
        super::run(tokend_tests::Storage::Postgres);
    }
}

const DAY: u64 = 24 * 3_600;
/// That a history begins with.
const WORKSPACES: usize = 3;
const HISTORIES: usize = 6;

/// What happens. Days are whole ones, so that how long a test takes does not matter: a purge asks for half a day less.
#[derive(Clone, Copy, Debug)]
enum Step {
    Later {
        days: u64,
    },
    Make {
        workspace: usize,
        lifetime: Option<u64>,
    },
    Revoke {
        which: usize,
    },
    /// A server puts on record what has expired.
    Record,
    Delete {
        workspace: usize,
    },
    Suspend {
        workspace: usize,
    },
    Purge {
        kept_days: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..60u64).prop_map(|days| Step::Later { days }),
        6 => (0..WORKSPACES, prop::option::weighted(0.7, 1..80u64))
            .prop_map(|(workspace, lifetime)| Step::Make { workspace, lifetime }),
        2 => (0..100usize).prop_map(|which| Step::Revoke { which }),
        2 => Just(Step::Record),
        1 => (0..WORKSPACES).prop_map(|workspace| Step::Suspend { workspace }),
        1 => (1..WORKSPACES).prop_map(|workspace| Step::Delete { workspace }),
        4 => (1..100u64).prop_map(|kept_days| Step::Purge { kept_days }),
    ];
    prop::collection::vec(step, 30..60)
}

/// What the oracle knows of a token: days since the beginning.
#[derive(Clone, Debug)]
struct Known {
    token: Token,
    workspace: usize,
    end: Option<u64>,
    revoked: Option<u64>,
    recorded: Option<u64>,
}

struct History<'a> {
    fixture: &'a Fixture,
    store: &'a Store,
    today: u64,
    workspaces: Vec<KnownWorkspace>,
    tokens: BTreeMap<Vec<u8>, Known>,
    /// How often a purge met a token that works.
    spared: usize,
}

struct KnownWorkspace {
    id: WorkspaceId,
    state: WorkspaceState,
    deleted: Option<u64>,
}

fn run(storage: tokend_tests::Storage) {
    crate::support::run_within(Duration::from_secs(170), storage, random_histories);
}

async fn random_histories(mut fixture: Fixture) {
    // How busy the machine is does not matter here.
    fixture.settings.pool_wait = Duration::from_secs(30);
    let store = fixture.initialized().await;
    let mut history =
        History { fixture: &fixture, store: &store, today: 0, workspaces: Vec::new(), tokens: BTreeMap::new(), spared: 0 };
    let mut runner = TestRunner::deterministic();
    let mut purged = 0;
    for _ in 0..HISTORIES {
        history.begin().await;
        for step in steps().new_tree(&mut runner).expect("steps").current() {
            purged += history.take(step).await;
        }
    }
    assert!(purged > 50 && history.spared > 50, "else this shows little: {purged}, {}", history.spared);
}

impl History<'_> {
    /// Goes on in workspaces that are new.
    async fn begin(&mut self) {
        for _ in 0..WORKSPACES {
            let id = format!("w{}", self.workspaces.len());
            let made = workspace(&id, self.store.now().await.expect("time"));
            let made = Workspace { state: WorkspaceState::Active, organization: None, ..made };
            assert_eq!(insert_workspace(self.store, &made).await, Insert::Done);
            self.workspaces.push(KnownWorkspace { id: made.id, state: made.state, deleted: None });
        }
    }

    /// A workspace of the history that goes on.
    fn workspace(&mut self, index: usize) -> &mut KnownWorkspace {
        let first = self.workspaces.len() - WORKSPACES;
        &mut self.workspaces[first + index]
    }

    /// How many tokens that purged.
    async fn take(&mut self, step: Step) -> u64 {
        match step {
            Step::Later { days } => {
                self.today += days;
                self.fixture.set_clock_ahead(Duration::from_secs(self.today * DAY));
            }
            Step::Make { workspace, lifetime } => self.make(workspace, lifetime).await,
            Step::Revoke { which } => self.revoke(which).await,
            Step::Record => self.record().await,
            Step::Suspend { workspace } => {
                let at = self.store.now().await.expect("time");
                let state = self.workspace(workspace).state;
                self.set(workspace, state.suspend(at).unwrap_or(state)).await;
            }
            Step::Delete { workspace } => {
                let at = self.store.now().await.expect("time");
                let today = self.today;
                self.workspace(workspace).deleted.get_or_insert(today);
                let state = self.workspace(workspace).state.delete(at);
                self.set(workspace, state).await;
            }
            Step::Purge { kept_days } => return self.purge(kept_days).await,
        }
        0
    }

    async fn make(&mut self, workspace: usize, lifetime: Option<u64>) {
        let now = self.store.now().await.expect("time");
        let expiry = lifetime.map_or(Expiry::Never, |days| Expiry::At(crate::support::after(now, days * DAY)));
        let id = self.workspace(workspace).id.clone();
        let token = self.fixture.token(&id, now);
        let token = Token { own_expiry: expiry, requested_expiry: expiry, rotated_from: None, rotated_to: None, ..token };
        assert_eq!(insert_token(self.store, &token).await, Insert::Done);
        let end = lifetime.map(|days| self.today + days);
        let id = token.name.id.as_bytes().to_vec();
        let workspace = self.workspaces.len() - WORKSPACES + workspace;
        self.tokens.insert(id, Known { token, workspace, end, revoked: None, recorded: None });
    }

    async fn revoke(&mut self, which: usize) {
        let today = self.today;
        let living = self.tokens.values().filter(|known| known.revoked.is_none()).count();
        let mut candidates = self.tokens.values_mut().filter(|known| known.revoked.is_none());
        let Some(known) = which.checked_rem(living).and_then(|which| candidates.nth(which)) else { return };
        known.revoked = Some(today);
        let name = known.token.name.clone();
        let revoke = async move |tx: &WriteTx| {
            let read = tx.token(&name).await?.expect("it is there");
            let reason = Reason::new(String::new()).expect("short");
            let revocation = Revocation { at: tx.now().await?, by: "root".parse().expect("an id"), reason };
            assert!(tx.revoke_token(&read, revocation).await?.is_some());
            Ok(())
        };
        let revoked = self.store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { revoke(tx).await }));
        revoked.await.expect("it works");
    }

    async fn record(&mut self) {
        for known in self.tokens.values_mut() {
            let has_ended = known.end.is_some_and(|end| end <= self.today);
            if !has_ended
                || known.revoked.is_some()
                || known.recorded.is_some()
                || self.workspaces[known.workspace].deleted.is_some()
            {
                continue;
            }
            known.recorded = Some(self.today);
            let id = known.token.name.id;
            let record = async move |tx: &WriteTx| {
                let read = tx.noted(id).await?;
                let end_time = Some(tx.now().await?);
                let noted = Noted { told: Told::NOTHING.with(ExpiryNotice::End), look_time: None, end_time };
                assert!(tx.note(id, read, noted).await?);
                Ok(())
            };
            let recorded = self.store.write::<_, StoreError, _>(move |tx| Box::pin(async move { record(tx).await }));
            recorded.await.expect("it works");
        }
    }

    async fn set(&mut self, workspace: usize, state: WorkspaceState) {
        let known = self.workspace(workspace);
        if std::mem::replace(&mut known.state, state) == state {
            return;
        }
        let id = known.id.clone();
        let set = async move |tx: &WriteTx| {
            let read = tx.lock_workspace(&id).await?.expect("it is there");
            let changed = Workspace { state, ..(**read).clone() };
            assert!(tx.update_workspace(&read, changed).await?.is_some());
            Ok(())
        };
        let set = self.store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { set(tx).await }));
        set.await.expect("it works");
    }

    async fn purge(&mut self, kept_days: u64) -> u64 {
        let retention = Duration::from_secs(kept_days * DAY - DAY / 2);
        let purged = purge(self.store, retention).await.expect("it works");
        let before = self.tokens.len();
        let (today, workspaces) = (self.today, &self.workspaces);
        self.tokens.retain(|_, known| {
            let deleted = workspaces[known.workspace].deleted;
            let works = known.revoked.is_none() && deleted.is_none() && known.end.is_none_or(|end| end > today);
            let on_record = known.revoked.or(known.recorded).or(deleted);
            self.spared += usize::from(works);
            works || on_record.is_none_or(|day| day + kept_days > today)
        });
        assert_eq!(purged, (before - self.tokens.len()) as u64, "on day {today}, kept for {kept_days}");
        let mut left: Vec<Vec<u8>> = self.fixture.column("SELECT id FROM tokens").await;
        left.sort();
        assert_eq!(left, self.tokens.keys().cloned().collect::<Vec<_>>(), "on day {today}, kept for {kept_days}");
        for (index, KnownWorkspace { id, .. }) in self.workspaces.iter().enumerate() {
            let counted = self.fixture.number(&format!("SELECT token_count FROM workspaces WHERE id = '{id}'")).await;
            let known = self.tokens.values().filter(|known| known.workspace == index).count();
            assert_eq!(counted, known as i64, "{id}");
        }
        purged
    }
}
