use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    io::Read,
    mem,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::chown,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::programs::Programs;

/// Runs the server as its parent. Its standard input is a pipe from the test process: when that process ends for any
/// reason, the pipe closes, and the script stops the server and removes its directory. `$1` is the program, `$2` the
/// directory, the rest are settings.
///
/// While the file `down` exists, a server that has ended stays down; after that, the script starts it again. A server
/// that ends without this file has failed. The server's process id is in the file `pid`; whoever closes the pipe may
/// read that of the former server, so the script looks for the file `over` after it has written a new one. Only the end
/// of the log is printed, as much as a pipe holds that nobody reads.
///
/// Standard input moves to descriptor 3 because a shell gives its background jobs `/dev/null` instead.
const GUARDIAN: &str = r#"
program=$1 directory=$2
shift 2
exec 3<&0
{ cat <&3 >/dev/null; : >"$directory/over"; kill -QUIT "$(cat "$directory/pid")"; } 2>/dev/null &
while :; do
    "$program" -D "$directory/data" "$@" </dev/null >>"$directory/log" 2>&1 3<&- &
    server=$!
    echo "$server" >"$directory/pid"
    [ -e "$directory/over" ] && kill -QUIT "$server"
    wait "$server"
    [ -e "$directory/down" ] || break
    while [ -e "$directory/down" ] && ! [ -e "$directory/over" ]; do sleep 0.01; done
    [ -e "$directory/over" ] && break
done
tail -c 30000 "$directory/log"
rm -rf "$directory"
"#;

/// Settings for little memory. Durability is that of production, because tokend refuses a server without it.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=32MB",
    "max_connections=400",
    "max_wal_size=256MB",
    "autovacuum=off",
];

/// The number of ports to try, because another process may take a free port first.
const ATTEMPTS: usize = 5;
/// The ports below are for services of the machine.
const FIRST_PORT: u16 = 10_000;
const PORTS_TO_TRY: usize = 100;
/// The file that keeps a server down; see [`GUARDIAN`].
const DOWN: &str = "down";
pub(super) const POLL: Duration = Duration::from_millis(20);
/// The number of polls after which a start has failed: a minute.
pub(super) const MAX_POLLS: usize = 3_000;

/// A server of this test process, which stops when the process ends.
#[derive(Debug)]
pub(super) struct Server {
    guardian: Child,
    port: u16,
    /// Removed by the guardian.
    directory: PathBuf,
}

/// The user that runs the server. PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The initial content of a server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// An empty cluster.
    New,
    /// A copy of the server on this port, which it follows as a standby.
    StandbyOf(u16),
}

impl Server {
    pub(super) fn start(programs: &Programs, origin: Origin) -> Result<Self, String> {
        let account = if rustix::process::geteuid().is_root() {
            Some(Account::unprivileged()?)
        } else {
            None
        };
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            match Self::attempt(programs, origin, account) {
                Ok(server) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Returns the URL of a database on the server. The server runs until this process exits.
    pub(super) fn into_url(self) -> String {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        // The pipe closes when this process exits, and not before.
        mem::forget(self.guardian);
        url
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server and waits until it has exited.
    pub(super) fn stop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }

    /// Stops the server immediately, as a crash does, and keeps its directory. Waits until it has ended.
    pub(super) fn crash(&self) {
        fs::write(self.directory.join(DOWN), "").expect("the directory can be written to");
        let pid = fs::read_to_string(self.directory.join("pid")).expect("the guardian wrote the process id");
        let pid = Pid::from_raw(pid.trim().parse().expect("a process id")).expect("a process id");
        kill_process(pid, Signal::QUIT).expect("the server runs");
        while rustix::process::test_kill_process(pid).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts the server again after a [`crash`](Self::crash). Returns at once.
    pub(super) fn start_again(&self) {
        fs::remove_file(self.directory.join(DOWN)).expect("the server is down");
    }

    fn attempt(programs: &Programs, origin: Origin, account: Option<Account>) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("tokend-postgres-")
            .tempdir()
            .map_err(failed_to("create a directory"))?;
        if let Some(Account { uid, gid }) = account {
            chown(&directory, Some(uid), Some(gid)).map_err(failed_to("change the owner of the directory"))?;
        }
        match origin {
            Origin::New => initdb(programs, directory.path(), account)?,
            Origin::StandbyOf(port) => base_backup(programs, directory.path(), account, port)?,
        }

        let port = lasting_port().map_err(failed_to("find a free port"))?;
        let mut command = command(Path::new("sh"), directory.path(), account);
        command
            .arg("-c")
            .arg(GUARDIAN)
            .arg("guardian")
            .arg(&programs.postgres)
            .arg(directory.path());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(["-p", &port.to_string()]);
        // A separate process group, so that Ctrl-C in the terminal does not reach the server before the tests have
        // finished.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut guardian = command.spawn().map_err(failed_to("run sh"))?;
        // The guardian removes the directory.
        let directory = directory.keep();

        for _ in 0..MAX_POLLS {
            if is_ready(&directory) {
                return Ok(Self {
                    guardian,
                    port,
                    directory,
                });
            }
            if let Some(status) = guardian.try_wait().map_err(failed_to("wait for sh"))? {
                return Err(format!("it exited: {status}\n{}", output(&mut guardian)));
            }
            thread::sleep(POLL);
        }
        drop(guardian.stdin.take());
        Err(format!("it is not ready after a minute\n{}", output(&mut guardian)))
    }
}

impl Account {
    /// Returns PostgreSQL's user or `nobody`, because the server needs a user with a name.
    pub(super) fn unprivileged() -> Result<Self, String> {
        let passwd = fs::read_to_string("/etc/passwd").map_err(failed_to("read /etc/passwd"))?;
        let account = |name: &str| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let (user, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
                if user == name {
                    Some(Self {
                        uid: uid.parse().ok()?,
                        gid: gid.parse().ok()?,
                    })
                } else {
                    None
                }
            })
        };
        account("postgres")
            .or_else(|| account("nobody"))
            .ok_or_else(|| "root can't run it, and there is no other user".to_owned())
    }
}

fn initdb(programs: &Programs, directory: &Path, account: Option<Account>) -> Result<(), String> {
    // `--no-sync` applies only to these files. The server still syncs its commits.
    let output = command(&programs.initdb, directory, account)
        .arg("--pgdata")
        .arg(directory.join("data"))
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ])
        .output()
        .map_err(failed_to("run initdb"))?;
    if output.status == ExitStatus::from_raw(0) {
        return Ok(());
    }
    Err(format!(
        "initdb: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Copies the server on `port`. The copy follows it as a standby.
fn base_backup(programs: &Programs, directory: &Path, account: Option<Account>, port: u16) -> Result<(), String> {
    let output = command(&programs.pg_basebackup, directory, account)
        .arg("--pgdata")
        .arg(directory.join("data"))
        .args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ])
        .args(["--host=127.0.0.1", "--username=postgres", &format!("--port={port}")])
        .output()
        .map_err(failed_to("run pg_basebackup"))?;
    if output.status == ExitStatus::from_raw(0) {
        return Ok(());
    }
    Err(format!(
        "pg_basebackup: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

pub(super) fn command(program: &Path, directory: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env("LC_ALL", "C");
    if let Some(Account { uid, gid }) = account {
        command.uid(uid).gid(gid);
    }
    command
}

/// Returns whether the server accepts connections. The server writes its state to the eighth line of this file.
fn is_ready(directory: &Path) -> bool {
    let status = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    status.lines().nth(7).is_some_and(|line| line.trim() == "ready")
}

/// Returns the output of the server after it has exited.
fn output(guardian: &mut Child) -> String {
    let mut output = String::new();
    if let Some(stdout) = &mut guardian.stdout {
        let _ = stdout.read_to_string(&mut output);
    }
    output
}

pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Returns a free port that the system gives to no outgoing connection, so that a server finds it free again when it is
/// restarted.
fn lasting_port() -> io::Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_outgoing = range.split_whitespace().next().and_then(|first| first.parse().ok());
    // The kernel's default.
    let first_outgoing: u16 = first_outgoing.unwrap_or(32_768);
    let Some(count) = first_outgoing.checked_sub(FIRST_PORT).filter(|count| *count > 0) else {
        return free_port();
    };
    for _ in 0..PORTS_TO_TRY {
        // A hasher's keys are random.
        let random = RandomState::new().build_hasher().finish() % u64::from(count);
        let port = FIRST_PORT + u16::try_from(random).expect("below a u16");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    free_port()
}

fn failed_to(action: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("can't {action}: {error}")
}
