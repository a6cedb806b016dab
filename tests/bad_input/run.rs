//! Sends the rows of the matrix and checks the responses.

use std::{
    fmt::Debug,
    io::{self, Write as _},
};

use bytes::Bytes;
use tokend_server::operation::Operation;
use tokend_tests::{
    Installation, Server,
    raw::{NO_RESPONSE, bearer, call, call_as, connect},
};
use tonic::{Code, transport::Channel};

use crate::{
    case::{Case, Expect},
    database::Database,
    refusal,
    values::Values,
};

/// The number of failures that are shown; the rest is counted.
const MAX_SHOWN: usize = 40;

/// A server, its resources, and a connection.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) values: Values,
    channel: Channel,
}

impl World {
    pub(crate) async fn of(installation: &Installation) -> Self {
        Self::on(installation.start().await).await
    }

    /// Creates the resources on a server that has just started.
    pub(crate) async fn on(server: Server) -> Self {
        let channel = connect(server.grpc_address()).await;
        Self {
            values: Values::of(&server).await,
            server,
            channel,
        }
    }

    /// Sends a request and returns the bytes of the response.
    pub(crate) async fn send(&self, rpc: &str, request: Bytes) -> Result<Bytes, tonic::Status> {
        self.send_as(self.server.admin_key(), rpc, request).await
    }

    /// Sends a request with this metadata and returns the bytes of the response.
    pub(crate) async fn send_with(
        &self,
        name: &'static str,
        value: &str,
        rpc: &str,
        request: Bytes,
    ) -> Result<Bytes, tonic::Status> {
        let key = bearer(self.server.admin_key());
        let headers: [(_, &[u8]); 2] = [("authorization", &key), (name, value.as_bytes())];
        Ok(call(&self.channel, &format!("/tokend.v1.{rpc}"), &headers, &[request])
            .await?
            .into_inner())
    }

    pub(crate) async fn send_as(&self, key: &str, rpc: &str, request: Bytes) -> Result<Bytes, tonic::Status> {
        let path = format!("/tokend.v1.{rpc}");
        Ok(call_as(&self.channel, key, &path, request).await?.into_inner())
    }
}

/// Sends the rows one after the other. `read_back` checks the responses to the accepted rows.
pub(crate) async fn run(
    installation: Installation,
    cases: impl Fn(&Values) -> Vec<Case>,
    read_back: impl AsyncFn(&World, &Case, Bytes) -> Result<(), String>,
) {
    let world = World::of(&installation).await;
    run_in(&installation, &world, cases, read_back).await;
}

/// Sends the rows to a server that has additional resources.
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
        let is_done = matches!(case.expect, Expect::Accepted) && changes(case.rpc) && answer.is_ok();
        // That a caller or key is gone is an answer with a revision of its own: another call may just have ended it.
        let is_gone = matches!(case.rpc, "CallerAdmin/DeleteCaller" | "CallerAdmin/RevokeCallerKey")
            && matches!(&answer, Err(status) if status.code() == Code::NotFound);
        let may_store = is_done || is_gone;
        let mut problems = Vec::new();
        if !may_store {
            let after = database.state().await;
            if after != state {
                problems.push(format!("something was stored: {after} instead of {state}"));
            }
        }
        problems.extend(row_verifier(world, case, answer, &read_back).await.err());
        if may_store || !problems.is_empty() {
            state = database.state().await;
        }
        failures.extend(problems.into_iter().map(|problem| describe(case, &problem)));
    }
    let process = world.server.process();
    if let Err(problem) = world
        .values
        .secrets()
        .are_not_in(&(process.stdout() + &process.stderr()))
    {
        failures.push(format!("the log {problem}"));
    }
    print(&format!(
        "{} rows of the bad-input matrix on {:?}",
        cases.len(),
        installation.storage()
    ));
    let shown = failures
        .iter()
        .take(MAX_SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{shown}",
        failures.len(),
        cases.len()
    );
}

/// Returns whether an RPC stores something when it is accepted.
fn changes(rpc: &str) -> bool {
    Operation::of(&format!("/tokend.v1.{rpc}")).is_some_and(|operation| operation.facts().changes)
}

async fn row_verifier(
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
        (Expect::Silence, Err(status)) if status.message() == NO_RESPONSE => Ok(()),
        (Expect::Silence, Ok(_)) => Err("was answered".to_owned()),
        (_, Ok(answer)) => read_back(world, case, answer).await,
        (_, Err(status)) => Err(format!("was refused: {:?} {}", status.code(), status.message())),
    }
}

/// A `read_back` for rows that are all refused.
pub(crate) async fn nothing_to_read_back(_: &World, _: &Case, _: Bytes) -> Result<(), String> {
    Err("was accepted".to_owned())
}

/// Returns an error if the two values differ.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, is: T, wanted: T) -> Result<(), String> {
    if is == wanted {
        Ok(())
    } else {
        Err(format!("{what} is {is:?} instead of {wanted:?}"))
    }
}

fn describe(
    Case {
        rpc,
        field,
        aspect,
        what,
        ..
    }: &Case,
    problem: &str,
) -> String {
    let what: String = what.chars().take(100).collect();
    format!("{rpc} {field} {aspect:?} ({what}): {problem}")
}

/// Prints a sentence to stderr, which a passing test shows too.
pub(crate) fn print(sentence: &str) {
    writeln!(io::stderr(), "{sentence}").expect("stderr is writable");
}
