use std::{
    env, fs,
    net::TcpStream,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

use tempfile::TempDir;

use super::{
    Database, server,
    server::{Account, MAX_POLLS, POLL},
};
use crate::did_not_run;

/// The variable that names a PgBouncer to use besides the one that is installed. `.ci/pgbouncer` prints a recent one.
const PROGRAM: &str = "TOKEND_TEST_PGBOUNCER";

/// Runs the poolers until its standard input ends, which happens when the test process ends for any reason. `$1` is the
/// program, `$2` the settings file, `$3` the number of processes.
///
/// A recent PgBouncer that is asked to stop waits for its clients, and there is nothing to lose: so it is killed.
const GUARDIAN: &str = r#"
exec 3<&0
poolers= count=0
while [ "$count" -lt "$3" ]; do
    "$1" "$2" </dev/null >>"$2.log" 2>&1 3<&- &
    poolers="$poolers $!" count=$((count + 1))
done
cat <&3 >/dev/null
kill -KILL $poolers
wait
"#;

/// Which PgBouncer to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Before 1.21: it passes on the names of prepared statements.
    Old,
    /// 1.21 or later: it keeps the prepared statements of its clients apart, unless `max_prepared_statements` is 0.
    Recent,
}

/// PgBouncer in front of a database, in transaction mode unless its settings say otherwise. Dropping it stops it.
#[derive(Debug)]
pub struct Pooler {
    guardian: Child,
    port: u16,
    database: String,
    directory: TempDir,
}

impl Pooler {
    /// Starts a pooler with these settings besides the necessary ones. If this machine has no such PgBouncer, prints
    /// that and returns nothing.
    ///
    /// # Panics
    /// If PgBouncer is there and does not start.
    #[must_use]
    pub fn start(database: &Database, release: Release, settings: &str) -> Option<Self> {
        Self::start_processes(1, database, release, settings)
    }

    /// Starts several processes that share a port: the system distributes the connections among them.
    ///
    /// # Panics
    /// If PgBouncer is there and does not start.
    #[must_use]
    pub fn start_processes(count: u32, database: &Database, release: Release, settings: &str) -> Option<Self> {
        let Some(program) = program(release) else {
            did_not_run(match release {
                Release::Old => "found no pgbouncer before 1.21 on this machine",
                Release::Recent => "found no pgbouncer from 1.21 on: TOKEND_TEST_PGBOUNCER can name one",
            });
            return None;
        };
        let account = rustix::process::geteuid()
            .is_root()
            .then(|| Account::unprivileged().expect("root has an unprivileged account to run it"));
        let directory = tempfile::Builder::new()
            .prefix("tokend-pgbouncer-")
            .tempdir()
            .expect("a directory is created");
        let port = server::free_port().expect("a port is free");
        let place = database.url().rsplit_once('@').expect("a URL with a user").1;
        let (host, name) = place.split_once('/').expect("a URL with a database");
        let (host, server_port) = host.split_once(':').unwrap_or((host, "5432"));
        let file = directory.path().join("pgbouncer.ini");
        let so_reuseport = u8::from(count > 1);
        let text = format!(
            "[databases]\n* = host={host} port={server_port} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nso_reuseport = {so_reuseport}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n\
             max_client_conn = 500\n{settings}\n"
        );
        fs::write(&file, text).expect("the file is written");
        if let Some(Account { uid, gid }) = account {
            chown(&directory, Some(uid), Some(gid)).expect("the owner is changed");
            chown(&file, Some(uid), Some(gid)).expect("the owner is changed");
        }
        let mut command = server::command(Path::new("sh"), directory.path(), account);
        command.arg("-c").arg(GUARDIAN).arg("guardian").arg(program).arg(&file);
        command.arg(count.to_string());
        let guardian = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let pooler = Self {
            guardian,
            port,
            database: name.to_owned(),
            directory,
        };
        for _ in 0..MAX_POLLS {
            if pooler.log().matches("process up").count() >= count as usize
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                return Some(pooler);
            }
            thread::sleep(POLL);
        }
        panic!("pgbouncer does not start:\n{}", pooler.log());
    }

    /// Returns the URL of the database behind it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/{}", self.address(), self.database)
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns what it logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("pgbouncer.ini.log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

/// Returns the program of a release: the one that the variable names, one in `PATH`, or Debian's.
fn program(release: Release) -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Vec<(Release, PathBuf)>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let path = env::var_os("PATH").unwrap_or_default();
        let installed = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let installed = installed.map(|directory| directory.join("pgbouncer"));
        let named = env::var_os(PROGRAM)
            .filter(|program| !program.is_empty())
            .map(PathBuf::from);
        let is_named = named.is_some();
        let found: Vec<_> = named
            .into_iter()
            .chain(installed)
            .filter_map(|program| Some((release_of(&program)?, program)))
            .collect();
        let has_recent = found.iter().any(|(release, _)| *release == Release::Recent);
        assert!(has_recent || !is_named, "{PROGRAM} names no PgBouncer from 1.21 on");
        found
    });
    found
        .iter()
        .find(|(found, _)| *found == release)
        .map(|(_, program)| program)
}

/// Asks a program for its version. Returns nothing if it does not run.
fn release_of(program: &Path) -> Option<Release> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().next()?.strip_prefix("PgBouncer ")?;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(if version < (1, 21) {
        Release::Old
    } else {
        Release::Recent
    })
}
