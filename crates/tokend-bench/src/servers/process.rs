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
use tokend_core::time::{BootTime, Clock};

use crate::BoxError;

/// A start is measured as precisely as this.
const POLL: Duration = Duration::from_millis(1);
/// The time after which a start, or a stop, has failed. Under valgrind a start takes many seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// A running server. It is killed when this is dropped.
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    /// Where tokend serves its metrics.
    ops_address: Option<SocketAddr>,
    /// A floor serves until this is closed.
    stdin: Option<ChildStdin>,
    /// The time from its start until it served.
    start: Duration,
}

/// Memory in RAM, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All of it.
    pub resident: f64,
    /// What the process has allocated. The rest is the program and other files, which the kernel can drop.
    pub anonymous: f64,
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
        let (clock, begin) = begin();
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
                start: clock.boot_time().saturating_since(begin),
            }),
            Err(_) => {
                drop(stdin);
                Err(format!("{command:?} did not start: {}", child.wait()?).into())
            }
        }
    }

    /// Starts a program that writes `ready_file`, and waits until it is ready (SERVING). Its log goes to `log`.
    ///
    /// # Errors
    /// It does not start. The error has its log.
    pub(super) fn start_tokend(mut command: Command, ready_file: &Path, log: &Path) -> Result<Self, BoxError> {
        command
            .arg("--ready-file")
            .arg(ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?);
        let (clock, begin) = begin();
        let mut this = Self {
            child: command.spawn()?,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            ops_address: None,
            stdin: None,
            start: Duration::ZERO,
        };
        while this.child.try_wait()?.is_none() {
            if this.is_ready(ready_file)? {
                this.start = clock.boot_time().saturating_since(begin);
                return Ok(this);
            }
            if clock.boot_time().saturating_since(begin) > LIMIT {
                break;
            }
            thread::sleep(POLL);
        }
        Err(format!("{command:?} does not serve:\n{}", fs::read_to_string(log)?).into())
    }

    /// Reads the ready file once it is there, which has the addresses, and asks whether the server is ready.
    fn is_ready(&mut self, ready_file: &Path) -> Result<bool, BoxError> {
        if self.ops_address.is_none() {
            let Ok(text) = fs::read_to_string(ready_file) else {
                return Ok(false);
            };
            let ready: Ready = serde_json::from_str(&text)?;
            (self.address, self.ops_address) = (ready.grpc_address, Some(ready.ops_address));
        }
        Ok(self.get("/readyz")?.starts_with("HTTP/1.1 200 "))
    }

    /// Returns the time from the start of the process until it served.
    #[must_use]
    pub const fn start_time(&self) -> Duration {
        self.start
    }

    /// Returns the memory of the process that is in RAM.
    ///
    /// # Errors
    /// The kernel does not report it.
    pub fn memory(&self) -> Result<Memory, BoxError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let bytes = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
            let kibibytes = line.and_then(|number| number.trim().parse::<f64>().ok());
            kibibytes.map(|kibibytes| kibibytes * 1024.0)
        };
        Ok(Memory {
            resident: bytes("VmRSS:").ok_or("the kernel reports no VmRSS")?,
            anonymous: bytes("RssAnon:").ok_or("the kernel reports no RssAnon")?,
        })
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
        let answer = self.get("/metrics")?;
        let value = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
        value.ok_or_else(|| format!("/metrics has no {name}").into())
    }

    /// Returns the answer to an HTTP request to the port for operators, with its head.
    fn get(&self, path: &str) -> Result<String, BoxError> {
        let address = self.ops_address.ok_or("a floor has no port for operators")?;
        let mut ops = TcpStream::connect(address)?;
        ops.set_read_timeout(Some(LIMIT))?;
        write!(
            ops,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        ops.read_to_string(&mut answer)?;
        Ok(answer)
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
        let (clock, begin) = begin();
        while clock.boot_time().saturating_since(begin) < LIMIT {
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

fn begin() -> (Clock, BootTime) {
    let clock = Clock::system();
    let now = clock.boot_time();
    (clock, now)
}
