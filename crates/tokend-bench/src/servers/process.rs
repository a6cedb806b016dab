//! A server as a child process.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::BoxError;

const POLL: Duration = Duration::from_millis(10);
/// The polls after which a start, or a stop, has failed. Under valgrind a start takes many seconds.
const MAX_POLLS: usize = 12_000;

/// A running server. It is killed when this is dropped.
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    /// Where tokend serves its metrics.
    ops_address: Option<SocketAddr>,
    /// A floor serves until this is closed.
    stdin: Option<ChildStdin>,
}

/// The part of tokend's ready file that is used here.
#[derive(Deserialize)]
struct Ready {
    grpc_address: SocketAddr,
    ops_address: SocketAddr,
}

impl ServerProcess {
    /// Starts a program that prints its address on the first line of stdout, and serves until its stdin ends.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start_announced(mut command: Command) -> Result<Self, BoxError> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Self {
                child,
                address,
                ops_address: None,
                stdin,
            }),
            Err(_) => {
                drop(stdin);
                Err(format!("{command:?} did not start: {}", child.wait()?).into())
            }
        }
    }

    /// Starts a program that writes `ready_file` once it serves. Its log goes to `log`.
    ///
    /// # Errors
    /// It does not start. The error has its log.
    pub(super) fn start_tokend(mut command: Command, ready_file: &Path, log: &Path) -> Result<Self, BoxError> {
        let child = command
            .arg("--ready-file")
            .arg(ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()?;
        let mut this = Self {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            ops_address: None,
            stdin: None,
        };
        for _ in 0..MAX_POLLS {
            if let Ok(text) = fs::read_to_string(ready_file) {
                let ready: Ready = serde_json::from_str(&text)?;
                (this.address, this.ops_address) = (ready.grpc_address, Some(ready.ops_address));
                return Ok(this);
            }
            if this.child.try_wait()?.is_some() {
                break;
            }
            thread::sleep(POLL);
        }
        Err(format!("{command:?} does not serve:\n{}", fs::read_to_string(log)?).into())
    }

    /// Returns the address that it serves on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the value of one of tokend's metrics, such as `name{label="value"}`.
    ///
    /// # Errors
    /// It is not served.
    pub fn metric(&self, name: &str) -> Result<f64, BoxError> {
        let address = self.ops_address.ok_or("a floor serves no metrics")?;
        let mut ops = TcpStream::connect(address)?;
        write!(
            ops,
            "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        ops.read_to_string(&mut answer)?;
        let value = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
        value.ok_or_else(|| format!("{address}/metrics has no {name}").into())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// It failed, or does not stop.
    pub fn stop(mut self) -> Result<(), BoxError> {
        if self.stdin.take().is_none() {
            let pid = Pid::from_raw(i32::try_from(self.pid())?).ok_or("a process without an id")?;
            kill_process(pid, Signal::TERM)?;
        }
        for _ in 0..MAX_POLLS {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("a server failed: {status}").into()),
                None => thread::sleep(POLL),
            }
        }
        Err("a server does not stop".into())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
