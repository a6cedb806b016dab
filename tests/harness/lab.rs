//! What all tasks of a run share, and the operations that they record.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::RwLock, task::JoinSet, time::timeout};
use tonic::Code;

use crate::{
    call::{Call, Done},
    checker,
    cluster::{Cluster, Server},
    endpoint::{self, Endpoint},
    history::{
        Asks, Consistency, Effect, KeyId, Outcome, Recorder, Span, Token, TokenId, Verdict, Verify, WorkspaceId,
    },
    measures::Measures,
    program::Counts,
    random::Random,
    settings::Settings,
    workload::Mix,
    world::World,
};

/// Of the operations at random servers, so many of a hundred may go to a server that is stopped or down.
const SILENT_PERCENT: usize = 25;
/// The most violations that are described.
const MOST_DESCRIBED: usize = 5;

/// A run.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) settings: Settings,
    pub(crate) mix: Mix,
    pub(crate) cluster: Cluster,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) recorder: Recorder,
    /// Written while faults are in progress, read while something is measured that must not meet a fault.
    pub(crate) quiet: RwLock<()>,
    world: Mutex<World>,
    measures: Mutex<Measures>,
    tasks: Mutex<JoinSet<()>>,
    is_ending: AtomicBool,
    checked: AtomicUsize,
    next_id: AtomicU64,
}

impl Lab {
    pub(crate) fn new(settings: Settings, mix: Mix, cluster: Cluster, endpoints: Vec<Endpoint>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            mix,
            cluster,
            endpoints,
            recorder: Recorder::start(),
            quiet: RwLock::default(),
            world: Mutex::default(),
            measures: Mutex::default(),
            tasks: Mutex::default(),
            is_ending: AtomicBool::new(false),
            checked: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
        })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn measures(&self) -> MutexGuard<'_, Measures> {
        self.measures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number for the name of something new.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs a task until the end of the run.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
    }

    /// Panics if a task did.
    pub(crate) fn reap(&self) -> usize {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            ended.expect("no task panics");
        }
        tasks.len()
    }

    /// Asks all tasks to end.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Returns a server at random, mostly one that answers.
    pub(crate) fn any_server(&self, random: &mut Random) -> &Server {
        let servers = self.cluster.servers();
        let mut server = &servers[random.below(servers.len())];
        for _ in 0..2 * servers.len() {
            if !server.is_silent() || random.percent(SILENT_PERCENT) {
                break;
            }
            server = &servers[random.below(servers.len())];
        }
        server
    }

    /// Asks an endpoint about a token and records the answer. `server` is for endpoints that are tied to none. Returns
    /// nothing if too many questions are in progress there, or if the endpoint can't ask for this consistency.
    pub(crate) async fn verify(
        &self,
        endpoint: usize,
        server: usize,
        token: TokenId,
        key: KeyId,
        asks: Asks,
        consistency: Consistency,
    ) -> Option<Verdict> {
        let asked = self.world().question(token, key, asks, consistency);
        let place = &self.endpoints[endpoint];
        if matches!(place, Endpoint::Program(_)) && consistency != Consistency::Ordinary {
            return None;
        }
        let server = match place {
            Endpoint::Server(index) => *index,
            Endpoint::Caching(_) | Endpoint::Program(_) => server,
        };
        let Ok(_room) = self.cluster.servers()[server].verifying.try_acquire() else {
            self.measures().skipped += 1;
            return None;
        };
        let invoked = self.recorder.now();
        let answer = place
            .ask(&self.cluster, self.recorder.stopwatch(), server, &asked)
            .await;
        let responded = self.recorder.now();
        self.recorder.verified(Verify {
            endpoint,
            token,
            key,
            asks,
            consistency,
            span: Span { invoked, responded },
            verdict: answer.verdict,
        });
        if let Verdict::Failed(code) = answer.verdict {
            let is_expected = matches!(
                code,
                Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled
            );
            let mut measures = self.measures();
            if !is_expected && let Some(reason) = &answer.error {
                measures
                    .unexpected
                    .push(format!("{}: {code:?}: {reason}", place.name()));
            }
            let status = status_text(code, answer.error.as_deref());
            *measures.no_verdicts.entry((place.name(), status)).or_default() += 1;
        }
        Some(answer.verdict)
    }

    /// Sends a change to a server and records it. Returns nothing if it fails or takes longer than `patience`.
    pub(crate) async fn change(
        &self,
        server: &Server,
        effect: &Effect,
        call: &Call,
        no_wait: bool,
        patience: Duration,
    ) -> Option<Done> {
        let line = server.change_line()?;
        let id = self.recorder.invoke(call.rpc(), server.index, effect.clone(), no_wait);
        let invoked = self.recorder.now();
        let answer = timeout(patience, call.send(line, self.cluster.admin(), no_wait)).await;
        let (done, outcome, status) = match answer {
            Ok(Ok(done)) => {
                let outcome = Outcome::Done(done.revision);
                (Some(done), outcome, None)
            }
            Ok(Err(status)) => {
                let (code, reason) = (status.code(), endpoint::reason(&status));
                let text = status_text(code, reason.as_deref());
                if reason.is_some() && !is_expected_of_a_change(code) {
                    let unexpected = format!("{}: {code:?}: {}", call.rpc(), status.message());
                    self.measures().unexpected.push(unexpected);
                }
                (None, Outcome::Failed(code), Some(text))
            }
            Err(_) => {
                let code = Code::DeadlineExceeded;
                (None, Outcome::Failed(code), Some("gave up waiting".to_owned()))
            }
        };
        let (responded, took) = self.recorder.respond(id, outcome);
        let mut measures = self.measures();
        if let Some(status) = status {
            *measures.failed_changes.entry((call.rpc(), status)).or_default() += 1;
        } else {
            *measures.changes.entry(call.rpc()).or_default() += 1;
            if matches!(call, Call::Revoke { .. }) && !no_wait {
                measures.revoke.add(took);
            }
        }
        drop(measures);
        if let Some((token, secret)) = done.as_ref().and_then(|done| done.successor.as_ref())
            && !secret.is_empty()
            && let Some(workspace) = self.workspace_named(&token.workspace)
        {
            self.add_token(
                token.name.clone(),
                secret.clone(),
                workspace,
                Span { invoked, responded },
            );
        }
        done
    }

    fn workspace_named(&self, name: &str) -> Option<WorkspaceId> {
        let index = self
            .world()
            .workspaces
            .iter()
            .position(|workspace| workspace.name == name);
        index.map(WorkspaceId)
    }

    /// Records a token that was created.
    pub(crate) fn add_token(&self, name: String, secret: String, workspace: WorkspaceId, creation: Span) -> TokenId {
        // The history and the world give it the same number, because both are locked meanwhile.
        let mut world = self.world();
        let id = self.recorder.token(Token {
            name: name.clone(),
            workspace,
            creation,
        });
        world.add_token(name, secret, workspace);
        drop(world);
        self.measures().created += 1;
        id
    }

    /// Returns the number of operations so far.
    pub(crate) fn operations(&self) -> usize {
        let recorded = self
            .recorder
            .with(|history| history.verifies.len() + history.changes.len());
        recorded + self.measures().created
    }

    /// Returns what all guards have counted. Ask before a process is killed: its counts die with it.
    pub(crate) async fn guard_counts(&self) -> Counts {
        let mut sum = Counts::default();
        for endpoint in &self.endpoints {
            if let Endpoint::Program(program) = endpoint {
                sum = sum + program.counts().await;
            }
        }
        sum
    }

    /// Checks what was recorded since the last check.
    pub(crate) fn check(&self) -> Option<Found> {
        self.recorder.with(|history| {
            let first = self.checked.swap(history.verifies.len(), Ordering::Relaxed);
            let violations = checker::check(history, first);
            if violations.is_empty() {
                return None;
            }
            let endpoint = |violation: &checker::Violation| history.verifies[violation.verify].endpoint;
            let mut text = format!("{} violations of the promise\n", violations.len());
            for violation in violations.iter().take(MOST_DESCRIBED) {
                let name = self.endpoints[endpoint(violation)].name();
                // Writing to a string does not fail.
                let _ = writeln!(text, "at {name}: {}", checker::describe(history, violation));
            }
            Some(Found {
                at: violations
                    .iter()
                    .map(|violation| (endpoint(violation), violation.kind))
                    .collect(),
                text,
            })
        })
    }
}

/// The violations that a check found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The endpoint and the kind of each.
    pub(crate) at: Vec<(usize, checker::Kind)>,
    /// A description of the first ones.
    pub(crate) text: String,
}

/// Whether a change may fail so: the servers are in trouble, or another change came first.
fn is_expected_of_a_change(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Aborted
            | Code::FailedPrecondition
            // An overlap longer than a policy's lifetime.
            | Code::InvalidArgument
    )
}

fn status_text(code: Code, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{code:?}: {detail}"),
        None => format!("{code:?}"),
    }
}
