use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    programs::Programs,
    server::{self, Account},
};
use crate::did_not_run;

/// Runs a program until standard input ends, which happens when the test process ends for any reason. Then kills the
/// program, and stops the PostgreSQL server that it has started, if any, immediately: together they crash. That server
/// is no child of this shell; its parent may never collect it, so a zombie counts as ended. `$1` is the directory, the
/// rest is the command.
const GUARDIAN: &str = r#"
directory=$1
shift
exec 3<&0
"$@" </dev/null >>"$directory/log" 2>&1 3<&- &
program=$!
{
    cat <&3 >/dev/null
    kill -KILL "$program"
    if read -r postgres <"$directory/data/postmaster.pid"; then
        kill -QUIT "$postgres"
        while kill -0 "$postgres" && ! grep -q '^State:.Z' "/proc/$postgres/status"; do sleep 0.05; done
    fi
} 2>/dev/null &
exec 3<&-
wait
"#;

/// What the documented configuration says, and where the cluster for a test has it instead.
const MEMBERS: [&str; 2] = ["pg1", "pg2"];
const DOCUMENTED_ETCD: &str = "10.0.0.11:2379, 10.0.0.12:2379, 10.0.0.13:2379";
const DOCUMENTED_REST: &str = "10.0.0.11:8008";
const DOCUMENTED_POSTGRES: [&str; 2] = ["10.0.0.11:5432", "10.0.0.12:5432"];

/// Two PostgreSQL servers that Patroni manages with one etcd. Dropping this value stops everything.
#[derive(Debug)]
pub struct Patroni {
    /// Stopped first.
    members: [Member; 2],
    _etcd: Guarded,
    patronictl: PathBuf,
    directory: TempDir,
}

#[derive(Debug)]
struct Member {
    postgres: SocketAddr,
    program: PathBuf,
    directory: PathBuf,
    running: Option<Guarded>,
}

/// A program with its guardian.
#[derive(Debug)]
struct Guarded(Child);

impl Patroni {
    /// Creates a cluster with the documented configuration, which is that of the first member. Changes the addresses and
    /// directories, and switches the watchdog off. If there is no Patroni on this machine, prints that and returns
    /// nothing. [`run`](Self::run) starts the members.
    ///
    /// # Panics
    /// If a program does not start, or the configuration lacks something that must be changed.
    #[must_use]
    pub fn create(configuration: &str) -> Option<Self> {
        let programs = Programs::find_with_backup();
        let patroni = program("patroni").filter(|patroni| has_client_of_etcd(patroni));
        let (Some(programs), Some(patroni), Some(patronictl), Some(etcd)) =
            (programs, patroni, program("patronictl"), program("etcd"))
        else {
            did_not_run("found no patroni with python3-etcd, patronictl and etcd on this machine");
            return None;
        };
        let account = account();
        let directory = tempfile::Builder::new()
            .prefix("tokend-patroni-")
            .tempdir()
            .expect("a directory is created");
        own(directory.path(), account);

        let client = free_address();
        let peer = format!("http://{}", free_address());
        let url = format!("http://{client}");
        let mut command = Command::new(etcd);
        command.args(["--name", "etcd", "--data-dir", "etcd/data", "--log-level", "warn"]);
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("etcd={peer}")]);
        let etcd = Guarded::spawn(
            &command,
            directory.path(),
            &subdirectory(&directory, "etcd", account),
            account,
        );

        let members = MEMBERS.map(|name| {
            let member = Member {
                postgres: free_address(),
                program: patroni.clone(),
                directory: subdirectory(&directory, name, account),
                running: None,
            };
            let text = member.configuration(configuration, name, client, &programs);
            let file = member.directory.join("patroni.yml");
            fs::write(&file, text).expect("the file is written");
            own(&file, account);
            member
        });
        Some(Self {
            members,
            _etcd: etcd,
            patronictl,
            directory,
        })
    }

    /// Returns a documented text with the addresses of this cluster's PostgreSQL servers.
    ///
    /// # Panics
    /// If the text does not have both.
    #[must_use]
    pub fn with_addresses(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (documented, member) in DOCUMENTED_POSTGRES.iter().zip(&self.members) {
            replace(&mut text, documented, &member.postgres.to_string());
        }
        text
    }

    /// Returns the address of a member's PostgreSQL server.
    #[must_use]
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].postgres
    }

    /// Returns the name of a member.
    #[must_use]
    pub fn name(&self, member: usize) -> &'static str {
        MEMBERS[member]
    }

    /// Returns a command that runs `patronictl`.
    #[must_use]
    pub fn patronictl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.patronictl);
        command.arg("-c").arg(self.members[0].directory.join("patroni.yml"));
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    /// Kills a member's Patroni and PostgreSQL, as the crash of its machine does.
    pub fn crash(&mut self, member: usize) {
        self.members[member].running = None;
    }

    /// Starts a member, or starts it again after a crash.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn run(&mut self, member: usize) {
        let member = &mut self.members[member];
        let mut command = Command::new(&member.program);
        command.arg(member.directory.join("patroni.yml"));
        member.running = Some(Guarded::spawn(
            &command,
            &member.directory,
            &member.directory,
            account(),
        ));
    }

    /// Returns what the programs have logged.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |directory: &Path| fs::read_to_string(directory.join("log")).unwrap_or_default();
        let members = self
            .members
            .iter()
            .zip(MEMBERS)
            .map(|(member, name)| format!("--- {name}\n{}", log(&member.directory)));
        members.collect()
    }
}

impl Member {
    fn configuration(&self, documented: &str, name: &str, etcd: SocketAddr, programs: &Programs) -> String {
        let path = |file: &str| self.directory.join(file).display().to_string();
        let programs = programs.postgres.parent().expect("a program in a directory");
        let mut text = documented.to_owned();
        for (documented, here) in [
            ("name: pg1", format!("name: {name}")),
            (DOCUMENTED_ETCD, etcd.to_string()),
            (DOCUMENTED_REST, free_address().to_string()),
            (DOCUMENTED_POSTGRES[0], self.postgres.to_string()),
            ("10.0.0.0/24", "127.0.0.1/32".to_owned()),
            ("/var/lib/postgresql/15/tokend", path("data")),
            ("/var/lib/postgresql/tokend.pgpass", path("pgpass")),
            ("/var/run/postgresql", path("")),
            ("/usr/lib/postgresql/15/bin", programs.display().to_string()),
            ("mode: required", "mode: \"off\"".to_owned()),
        ] {
            replace(&mut text, documented, &here);
        }
        text
    }
}

impl Guarded {
    fn spawn(program: &Command, working_directory: &Path, log: &Path, account: Option<Account>) -> Self {
        let mut command = server::command(Path::new("sh"), working_directory, account);
        command.arg("-c").arg(GUARDIAN).arg("guardian").arg(log);
        command.arg(program.get_program()).args(program.get_args());
        let guardian = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        Self(guardian)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Looks in `PATH` and where Debian installs it.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
    directories
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// Returns whether the interpreter of Patroni has the library for etcd, which is a package of its own.
fn has_client_of_etcd(patroni: &Path) -> bool {
    let script = fs::read_to_string(patroni).unwrap_or_default();
    let Some(interpreter) = script.lines().next().and_then(|line| line.strip_prefix("#!")) else {
        return false;
    };
    let mut words = interpreter.split_whitespace();
    let found = words.next().map(|program| {
        let mut command = Command::new(program);
        command.args(words).args(["-c", "import etcd"]).stderr(Stdio::null());
        command.status()
    });
    found.is_some_and(|status| status.is_ok_and(|status| status.success()))
}

fn account() -> Option<Account> {
    rustix::process::geteuid()
        .is_root()
        .then(|| Account::unprivileged().expect("root has an unprivileged account to run it"))
}

fn subdirectory(parent: &TempDir, name: &str, account: Option<Account>) -> PathBuf {
    let directory = parent.path().join(name);
    fs::create_dir(&directory).expect("a directory is created");
    own(&directory, account);
    directory
}

fn own(path: &Path, account: Option<Account>) {
    if let Some(Account { uid, gid }) = account {
        chown(path, Some(uid), Some(gid)).expect("the owner is changed");
    }
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, server::free_port().expect("a port is free")).into()
}

fn replace(text: &mut String, documented: &str, here: &str) {
    assert!(text.contains(documented), "{documented:?} in {text}");
    *text = text.replace(documented, here);
}
