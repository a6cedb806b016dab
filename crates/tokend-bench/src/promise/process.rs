//! Servers as processes of the real program.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::BoxError;

/// Runs the server as its parent. Standard input is a pipe from this process: when that closes, because the server is
/// no longer wanted or because this process has ended for whatever reason, the server is killed. `$1` is the file for
/// the server's process id, `$2` its log, the rest is the command.
const GUARDIAN: &str = r#"
pid=$1 log=$2
shift 2
exec 3<&0
"$@" </dev/null >"$log" 2>&1 3<&- &
server=$!
echo "$server" >"$pid"
{ cat <&3 >/dev/null; kill -KILL "$server"; } 2>/dev/null &
wait "$server" 2>/dev/null
"#;

const START_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// A running `tokend serve`. Dropping it kills the server.
#[derive(Debug)]
pub(super) struct ServerProcess {
    guardian: Child,
    pid: u32,
    address: String,
}

impl ServerProcess {
    /// Starts a server whose files are in `directory` and begin with `name`, and waits until it serves.
    pub(super) async fn start(serve: Command, directory: &Path, name: &str) -> Result<Self, BoxError> {
        let file = |suffix: &str| directory.join(format!("{name}.{suffix}"));
        let (pid_file, log, ready) = (file("pid"), file("log"), file("ready"));
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARDIAN, "guardian"])
            .args([&pid_file, &log])
            .arg(serve.get_program())
            .args(serve.get_args())
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        without_settings(&mut command);
        let mut server = Self {
            guardian: command.spawn()?,
            pid: 0,
            address: String::new(),
        };
        let started = tokio::time::timeout(START_LIMIT, server.read_ready_file(&ready)).await;
        match started {
            Ok(Ok(address)) => server.address = address,
            Ok(Err(error)) => return Err(format!("{error}\n{}", text(&log)).into()),
            Err(_) => return Err(format!("the server does not start\n{}", text(&log)).into()),
        }
        server.pid = text(&pid_file).trim().parse()?;
        Ok(server)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the time that the process has spent on a CPU so far.
    ///
    /// The scheduler counts it in nanoseconds for each thread. Threads that have ended are missing; a server's do not
    /// end while it serves.
    pub(super) fn cpu(&self) -> Result<Duration, BoxError> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().ok_or("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    async fn read_ready_file(&mut self, file: &Path) -> Result<String, BoxError> {
        loop {
            if let Some(status) = self.guardian.try_wait()? {
                return Err(format!("the server has exited: {status}").into());
            }
            // It may be there in part.
            if let Ok(ready) = serde_json::from_str::<serde_json::Value>(&text(file))
                && let Some(address) = ready["grpc_address"].as_str()
            {
                return Ok(address.to_owned());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        // Fails only for a process that was waited for.
        let _ = self.guardian.wait();
    }
}

/// Runs a command to its end, and returns its standard output.
pub(super) fn run(mut command: Command) -> Result<String, BoxError> {
    without_settings(&mut command);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{error}", output.status).into())
}

/// Leaves out the `TOKEND_` variables of this process, which would be settings of the program.
fn without_settings(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("TOKEND_") {
            command.env_remove(variable);
        }
    }
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
