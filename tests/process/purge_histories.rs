//! In random histories, a purge deletes exactly the tokens whose expiry or revocation was recorded long enough ago, and
//! never a valid token.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tokend_core::{
    address::AllowedAddresses,
    credential::{Kind, Minted},
    keyring::RootKeys,
    labels::Labels,
    name::{TokenName, WorkspaceId},
    policy::PolicyState,
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName, Reason},
    time::{Clock, Timestamp},
    token::expiry_notice::{ExpiryNotice, SentNotices},
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_server::background::retention::purge;
use tokend_store::{Insert, NoticeState, Store, StoreError, StoreSettings, WriteTx};
use tokend_tests::{Installation, Storage, on_both_databases};

on_both_databases!(random_histories);

const DAY: u64 = 24 * 3_600;
/// The number of workspaces at the start of a history.
const WORKSPACES: usize = 3;
const HISTORIES: usize = 6;

/// A step of a history. Steps take whole days and a purge subtracts half a day, so the test's run time does not matter.
#[derive(Clone, Copy, Debug)]
enum Step {
    Later {
        days: u64,
    },
    Create {
        workspace: usize,
        lifetime: Option<u64>,
    },
    Revoke {
        index: usize,
    },
    /// A server records the expiry of tokens.
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
            .prop_map(|(workspace, lifetime)| Step::Create { workspace, lifetime }),
        2 => (0..100usize).prop_map(|index| Step::Revoke { index }),
        2 => Just(Step::Record),
        1 => (0..WORKSPACES).prop_map(|workspace| Step::Suspend { workspace }),
        1 => (1..WORKSPACES).prop_map(|workspace| Step::Delete { workspace }),
        4 => (1..100u64).prop_map(|kept_days| Step::Purge { kept_days }),
    ];
    prop::collection::vec(step, 30..60)
}

/// The expected state of a token, in days since the start.
#[derive(Clone, Debug)]
struct Known {
    token: Token,
    workspace: usize,
    end: Option<u64>,
    revoked: Option<u64>,
    recorded: Option<u64>,
}

struct History<'a> {
    installation: &'a Installation,
    store: &'a Store,
    /// How far the store's clock is ahead of the real one.
    ahead_micros: &'a AtomicI64,
    today: u64,
    workspaces: Vec<KnownWorkspace>,
    tokens: BTreeMap<Vec<u8>, Known>,
    /// How often a purge ran over a valid token.
    spared: usize,
}

struct KnownWorkspace {
    id: WorkspaceId,
    state: WorkspaceState,
    deleted: Option<u64>,
}

async fn random_histories(installation: Installation) {
    installation.init().await;
    let ahead_micros = Arc::new(AtomicI64::new(0));
    let store = open(&installation, Arc::clone(&ahead_micros)).await;
    let mut history = History {
        installation: &installation,
        store: &store,
        ahead_micros: &ahead_micros,
        today: 0,
        workspaces: Vec::new(),
        tokens: BTreeMap::new(),
        spared: 0,
    };
    let mut runner = TestRunner::deterministic();
    let mut purged = 0;
    for _ in 0..HISTORIES {
        history.begin().await;
        for step in steps()
            .new_tree(&mut runner)
            .expect("the strategy has a value")
            .current()
        {
            purged += history.apply(step).await;
        }
    }
    assert!(
        purged > 50 && history.spared > 50,
        "too few purged or spared tokens: {purged}, {}",
        history.spared
    );
}

/// Opens the installation's database in this process, with a clock that the test advances.
async fn open(installation: &Installation, ahead_micros: Arc<AtomicI64>) -> Store {
    let url = match installation.postgres() {
        Some(database) => database.url().to_owned(),
        None => format!("sqlite://{}", installation.data_dir().join("tokend.db").display()),
    };
    let settings = StoreSettings {
        // Long timeouts, because the speed of the machine does not matter.
        pool_wait: Duration::from_secs(30),
        ..StoreSettings::new(url)
    };
    let keyring = fs::read_to_string(installation.data_dir().join("keyring")).expect("the key ring is readable");
    let roots = RootKeys::from_toml(&keyring).expect("the key ring is valid");
    let clock = Clock::with_offset(move || ahead_micros.load(Ordering::SeqCst));
    Store::open(&settings, Arc::new(roots), clock)
        .await
        .expect("the store opens")
}

impl History<'_> {
    /// Creates the workspaces of a new history.
    async fn begin(&mut self) {
        for _ in 0..WORKSPACES {
            let id: WorkspaceId = format!("w{}", self.workspaces.len()).parse().expect("the ID is valid");
            let state = WorkspaceState::Active;
            let workspace = Workspace {
                id: id.clone(),
                display_name: DisplayName::new("purged".to_owned()).expect("the name is valid"),
                organization: None,
                state,
                create_time: self.store.now().await.expect("the store has the time"),
                policy: PolicyState::default(),
            };
            let inserted = self
                .store
                .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_workspace(&workspace).await);
            assert_eq!(inserted.await.expect("the workspace is stored"), Insert::Done);
            let deleted = None;
            self.workspaces.push(KnownWorkspace { id, state, deleted });
        }
    }

    /// Returns a workspace of the current history.
    fn workspace(&mut self, index: usize) -> &mut KnownWorkspace {
        let first = self.workspaces.len() - WORKSPACES;
        &mut self.workspaces[first + index]
    }

    /// Applies a step, and returns the number of purged tokens.
    async fn apply(&mut self, step: Step) -> u64 {
        match step {
            Step::Later { days } => {
                self.today += days;
                let micros = i64::try_from(self.today * DAY * 1_000_000).expect("the time fits into 64 bits");
                self.ahead_micros.store(micros, Ordering::SeqCst);
            }
            Step::Create { workspace, lifetime } => self.create(workspace, lifetime).await,
            Step::Revoke { index } => self.revoke(index).await,
            Step::Record => self.record().await,
            Step::Suspend { workspace } => {
                let at = self.store.now().await.expect("the store has the time");
                let state = self.workspace(workspace).state;
                self.set(workspace, state.suspend(at).unwrap_or(state)).await;
            }
            Step::Delete { workspace } => {
                let at = self.store.now().await.expect("the store has the time");
                let today = self.today;
                self.workspace(workspace).deleted.get_or_insert(today);
                let state = self.workspace(workspace).state.delete(at);
                self.set(workspace, state).await;
            }
            Step::Purge { kept_days } => return self.purge(kept_days).await,
        }
        0
    }

    async fn create(&mut self, workspace: usize, lifetime: Option<u64>) {
        let now = self.store.now().await.expect("the store has the time");
        let expiry = lifetime.map_or(Expiry::Never, |days| {
            Expiry::At(
                now.plus(Duration::from_secs(days * DAY))
                    .expect("the time is before the year 10000"),
            )
        });
        let token = self.token(self.workspaces.len() - WORKSPACES + workspace, now, expiry);
        let stored = token.clone();
        let inserted = self
            .store
            .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_token(&stored).await);
        assert_eq!(inserted.await.expect("the token is stored"), Insert::Done);
        let end = lifetime.map(|days| self.today + days);
        let id = token.name.id.as_bytes().to_vec();
        let workspace = self.workspaces.len() - WORKSPACES + workspace;
        self.tokens.insert(
            id,
            Known {
                token,
                workspace,
                end,
                revoked: None,
                recorded: None,
            },
        );
    }

    /// Returns a new token of the workspace at `index`.
    fn token(&self, index: usize, create_time: Timestamp, expiry: Expiry) -> Token {
        let minted = self.store.keys().mint(Kind::WorkspaceToken, &mut random());
        let Minted { id, digest, .. } = minted.expect("the token is minted");
        let catalog = ScopeCatalog::bitbucket().expect("the catalog is valid");
        let workspace = self.workspaces[index].id.clone();
        Token {
            resource: Resource::new(format!("workspaces/{workspace}")).expect("the resource is valid"),
            name: TokenName { workspace, id },
            digest,
            display_name: DisplayName::new("purged".to_owned()).expect("the name is valid"),
            description: Description::new(String::new()).expect("the description is valid"),
            scopes: GrantedScopes::grant(&catalog, &["repository"]).expect("the scope is valid"),
            allowed_addresses: AllowedAddresses::Any,
            labels: Labels::new(BTreeMap::new()).expect("the labels are valid"),
            create_time,
            creator: "root".parse().expect("the ID is valid"),
            own_expiry: expiry,
            requested_expiry: expiry,
            revocation: None,
            rotated_from: None,
            rotated_to: None,
        }
    }

    async fn revoke(&mut self, index: usize) {
        let today = self.today;
        let living = self.tokens.values().filter(|known| known.revoked.is_none()).count();
        let mut candidates = self.tokens.values_mut().filter(|known| known.revoked.is_none());
        let Some(known) = index.checked_rem(living).and_then(|index| candidates.nth(index)) else {
            return;
        };
        known.revoked = Some(today);
        let name = known.token.name.clone();
        let revoke = async move |tx: &WriteTx| {
            let read = tx.token(&name).await?.expect("the row exists");
            let reason = Reason::new(String::new()).expect("the reason is valid");
            let revocation = Revocation {
                at: tx.now().await?,
                by: "root".parse().expect("the ID is valid"),
                reason,
            };
            assert!(tx.revoke_token(&read, revocation).await?.is_some());
            Ok(())
        };
        let revoked = self
            .store
            .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| revoke(tx).await);
        revoked.await.expect("the write is committed");
    }

    async fn record(&mut self) {
        for known in self.tokens.values_mut() {
            let is_expired = known.end.is_some_and(|end| end <= self.today);
            if !is_expired
                || known.revoked.is_some()
                || known.recorded.is_some()
                || self.workspaces[known.workspace].deleted.is_some()
            {
                continue;
            }
            known.recorded = Some(self.today);
            let id = known.token.name.id;
            let record = async move |tx: &WriteTx| {
                let read = tx.notice_state(id).await?;
                let end_time = Some(tx.now().await?);
                let new_state = NoticeState {
                    told: SentNotices::NONE.with(ExpiryNotice::End),
                    look_time: None,
                    end_time,
                };
                assert!(tx.set_notice_state(id, read, new_state).await?);
                Ok(())
            };
            let recorded = self
                .store
                .write::<_, StoreError, _>(async move |tx: &WriteTx| record(tx).await);
            recorded.await.expect("the write is committed");
        }
    }

    async fn set(&mut self, workspace: usize, state: WorkspaceState) {
        let known = self.workspace(workspace);
        if std::mem::replace(&mut known.state, state) == state {
            return;
        }
        let id = known.id.clone();
        let set = async move |tx: &WriteTx| {
            let read = tx.lock_workspace(&id).await?.expect("the row exists");
            let changed = Workspace {
                state,
                ..(**read).clone()
            };
            assert!(tx.update_workspace(&read, changed).await?.is_some());
            Ok(())
        };
        let set = self
            .store
            .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| set(tx).await);
        set.await.expect("the write is committed");
    }

    async fn purge(&mut self, kept_days: u64) -> u64 {
        let retention = Duration::from_secs(kept_days * DAY - DAY / 2);
        let purged = purge(self.store, retention).await.expect("`purge` succeeds");
        let before = self.tokens.len();
        let (today, workspaces) = (self.today, &self.workspaces);
        self.tokens.retain(|_, known| {
            let deleted = workspaces[known.workspace].deleted;
            let works = known.revoked.is_none() && deleted.is_none() && known.end.is_none_or(|end| end > today);
            let on_record = known.revoked.or(known.recorded).or(deleted);
            self.spared += usize::from(works);
            works || on_record.is_none_or(|day| day + kept_days > today)
        });
        assert_eq!(
            purged,
            (before - self.tokens.len()) as u64,
            "on day {today}, kept for {kept_days}"
        );
        let ids = match self.installation.storage() {
            Storage::Sqlite => "SELECT lower(hex(id)) FROM tokens ORDER BY 1",
            Storage::Postgres => "SELECT encode(id, 'hex') FROM tokens ORDER BY 1",
        };
        let known: Vec<_> = self.tokens.keys().map(|id| hex(id)).collect();
        assert_eq!(
            self.installation.texts(ids).await,
            known,
            "on day {today}, kept for {kept_days}"
        );
        for (index, KnownWorkspace { id, .. }) in self.workspaces.iter().enumerate() {
            let count = format!("SELECT CAST(token_count AS text) FROM workspaces WHERE id = '{id}'");
            let counted = self.installation.texts(&count).await;
            let known = self.tokens.values().filter(|known| known.workspace == index).count();
            assert_eq!(counted, [known.to_string()], "{id}");
        }
        purged
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[expect(clippy::disallowed_types, reason = "tests are put together here")]
fn random() -> rand::rngs::SysRng {
    rand::rngs::SysRng
}
