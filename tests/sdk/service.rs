//! A running example, and requests to it.

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use tokend_client::v1::Role;
use tokend_tests::{Installation, Process, Server, eventually};

/// The longest time to wait for a response. On a busy machine, the service may wait for tokend.
const LIMIT: Duration = Duration::from_secs(60);

/// A running example. Dropping it kills the service.
pub(crate) struct Service {
    pub(crate) address: String,
    pub(crate) process: Process,
}

/// A response of an HTTP service.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The lines of the head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Runs `tokend init` with leases that last for `lease`, and returns the key of the first caller. A longer lease than
/// in other tests runs on while a busy machine lets this process wait.
pub(crate) async fn init(installation: &Installation, lease: &str) -> String {
    let finished = installation.run_on_data(["init", "--lease", lease]).await;
    finished.succeeded().trim().to_owned()
}

impl Service {
    /// Starts the example, as a caller of this server that may only verify.
    pub(crate) async fn start(program: &str, server: &Server, variables: &[(&str, &str)]) -> Self {
        let caller = server.caller("gateway", Role::Verifier).await;
        Self::start_as(program, server.grpc_address(), &caller.secret, variables).await
    }

    /// Starts the example with this caller key.
    pub(crate) async fn start_as(program: &str, address: &str, key: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        for (variable, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOKEND_")) {
            command.env_remove(variable);
        }
        command
            .env("TOKEND_ADDRESS", address)
            .env("TOKEND_CALLER_KEY", key)
            .env("LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied());
        let mut process = Process::spawn(command, "");
        let address = eventually("the service says where it listens", async || {
            assert!(process.is_running(), "the service runs: {}", process.stderr());
            let stdout = process.stdout();
            let address = stdout.strip_prefix("listening on ")?.strip_suffix('\n')?;
            Some(address.to_owned())
        })
        .await;
        Self { address, process }
    }

    /// Sends a request over HTTP/1.1.
    pub(crate) fn send(&self, method: &str, path: &str, token: Option<&str>) -> Response {
        let mut stream = TcpStream::connect(&self.address).expect("the service accepts connections");
        stream.set_read_timeout(Some(LIMIT)).expect("the timeout is set");
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let (authorization, host) = (authorization.unwrap_or_default(), &self.address);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{authorization}\r\n"
        )
        .expect("the request is sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("the response is text");
        let (head, body) = response.split_once("\r\n\r\n").expect("the response is HTTP");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Response {
            status: status.expect("the response has a status"),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> Response {
        self.send("GET", path, token)
    }
}
