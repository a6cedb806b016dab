//! Sends the rows of the matrix and judges what comes back.

use std::{
    fmt::Debug,
    io::{self, Write as _},
};

use bytes::Bytes;
use tokend_tests::{
    Installation, Server,
    raw::{bearer, call, call_as, connect},
};
use tonic::transport::Channel;

use crate::{
    case::{Case, Expect},
    database::Database,
    refusal,
    values::Values,
};

/// RPCs that store something when they are accepted.
const WRITERS: [&str; 15] = [
    "TokenAdmin/CreateToken",
    "TokenAdmin/RotateToken",
    "TokenAdmin/RevokeToken",
    "TokenAdmin/BatchRevokeTokens",
    "TokenAdmin/RevokeLeakedTokens",
    "WorkspaceAdmin/CreateWorkspace",
    "WorkspaceAdmin/SuspendWorkspace",
    "WorkspaceAdmin/ResumeWorkspace",
    "WorkspaceAdmin/DeleteWorkspace",
    "WorkspaceAdmin/CreateOrganization",
    "WorkspaceAdmin/UpdateTokenPolicy",
    "CallerAdmin/CreateCaller",
    "CallerAdmin/DeleteCaller",
    "CallerAdmin/CreateCallerKey",
    "CallerAdmin/RevokeCallerKey",
];

/// Failures that are shown; the rest is counted.
const MAX_SHOWN: usize = 40;

/// A server, what is in it, and a connection.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) values: Values,
    channel: Channel,
}

impl World {
    pub(crate) async fn of(installation: &Installation) -> Self {
        Self::on(installation.start().await).await
    }

    /// What a server that was just started is filled with.
    pub(crate) async fn on(server: Server) -> Self {
        let channel = connect(server.grpc_address()).await;
        Self { values: Values::of(&server).await, server, channel }
    }

    /// The answer's bytes.
    pub(crate) async fn send(&self, rpc: &str, request: Bytes) -> Result<Bytes, tonic::Status> {
        self.send_as(self.server.admin_key(), rpc, request).await
    }

    /// Likewise, with this metadata.
    pub(crate) async fn send_with(
        &self,
        name: &'static str,
        value: &str,
        rpc: &str,
        request: Bytes,
    ) -> Result<Bytes, tonic::Status> {
        let key = bearer(self.server.admin_key());
        let headers: [(_, &[u8]); 2] = [("authorization", &key), (name, value.as_bytes())];
        Ok(call(&self.channel, &format!("/tokend.v1.{rpc}"), &headers, &[request]).await?.into_inner())
    }

    pub(crate) async fn send_as(&self, key: &str, rpc: &str, request: Bytes) -> Result<Bytes, tonic::Status> {
        let path = format!("/tokend.v1.{rpc}");
        Ok(call_as(&self.channel, key, &path, request).await?.into_inner())
    }
}

/// Sends the rows one after the other. `read_back` judges the answers to those that were accepted.
pub(crate) async fn run(
    installation: Installation,
    cases: impl Fn(&Values) -> Vec<Case>,
    read_back: impl AsyncFn(&World, &Case, Bytes) -> Result<(), String>,
) {
    let world = World::of(&installation).await;
    run_in(&installation, &world, cases, read_back).await;
}

/// Likewise, on a server that has been filled further.
pub(crate) async fn run_in(
    installation: &Installation,
    world: &World,
    cases: impl Fn(&Values) -> Vec<Case>,
    read_back: impl AsyncFn(&World, &Case, Bytes) -> Result<(), String>,
) {
    let mut database = Database::of(installation).await;
    let cases = cases(&world.values);
    let mut state = database.state().await;
    let mut failures = Vec::new();
    for case in &cases {
        let answer = world.send(case.rpc, case.request.clone()).await;
        let may_store = matches!(case.expect, Expect::Accepted) && WRITERS.contains(&case.rpc) && answer.is_ok();
        let mut problems = Vec::new();
        if !may_store {
            let after = database.state().await;
            if after != state {
                problems.push(format!("something was stored: {after} instead of {state}"));
            }
        }
        problems.extend(judge(world, case, answer, &read_back).await.err());
        if may_store || !problems.is_empty() {
            state = database.state().await;
        }
        failures.extend(problems.into_iter().map(|problem| describe(case, &problem)));
    }
    let process = world.server.process();
    if let Err(problem) = world.values.secrets().are_not_in(&(process.stdout() + &process.stderr())) {
        failures.push(format!("the log {problem}"));
    }
    tell(&format!("{} rows of the bad-input matrix on {:?}", cases.len(), installation.storage()));
    let shown = failures.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} rows:\n{shown}", failures.len(), cases.len());
}

async fn judge(
    world: &World,
    case: &Case,
    answer: Result<Bytes, tonic::Status>,
    read_back: &impl AsyncFn(&World, &Case, Bytes) -> Result<(), String>,
) -> Result<(), String> {
    match (&case.expect, answer) {
        (Expect::Refused { code, reason, fields }, Err(status)) => {
            refusal::check(&status, *code, *reason, fields, world.values.secrets())
        }
        (Expect::Refused { .. }, Ok(_)) => Err("was accepted".to_owned()),
        (_, Ok(answer)) => read_back(world, case, answer).await,
        (_, Err(status)) => Err(format!("was refused: {:?} {}", status.code(), status.message())),
    }
}

/// For rows of which none is accepted.
pub(crate) async fn nothing_to_read_back(_: &World, _: &Case, _: Bytes) -> Result<(), String> {
    Err("was accepted".to_owned())
}

/// For what must be equal.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, is: T, wanted: T) -> Result<(), String> {
    if is == wanted { Ok(()) } else { Err(format!("{what} is {is:?} instead of {wanted:?}")) }
}

fn describe(Case { rpc, field, aspect, what, .. }: &Case, problem: &str) -> String {
    let what: String = what.chars().take(100).collect();
    format!("{rpc} {field} {aspect:?} ({what}): {problem}")
}

/// Says something that a passing test shows, too.
pub(crate) fn tell(sentence: &str) {
    writeln!(io::stderr(), "{sentence}").expect("stderr can be written to");
}
