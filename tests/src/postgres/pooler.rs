use std::{
    env, fs, io,
    io::Write,
    net::TcpStream,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
};

use tempfile::TempDir;

use super::{
    Database, server,
    server::{Account, MAX_POLLS, POLL},
};

/// Runs the pooler until its standard input ends, as it does with the test process, however that ends. `$1` is the program, `$2` its
/// settings.
const GUARDIAN: &str = r#"
exec 3<&0
"$1" "$2" </dev/null >"$2.log" 2>&1 3<&- &
pooler=$!
cat <&3 >/dev/null
kill "$pooler"
wait "$pooler"
"#;

/// PgBouncer before a database, in transaction mode. Ends when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    guardian: Child,
    url: String,
    directory: TempDir,
}

impl Pooler {
    /// Starts one with these settings besides the necessary ones. Where there is no `pgbouncer` on this machine, says so and returns
    /// nothing.
    ///
    /// # Panics
    /// If it is there and does not start.
    #[must_use]
    pub fn start(database: &Database, settings: &str) -> Option<Self> {
        let Some(program) = program() else {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            // Not eprintln!, which a passing test keeps to itself.
            writeln!(io::stderr(), "DID NOT RUN: {test}: found no pgbouncer on this machine").expect("stderr can be written to");
            return None;
        };
        let account = rustix::process::geteuid().is_root().then(|| Account::unprivileged().expect("root can't run it"));
        let directory = tempfile::Builder::new().prefix("tokend-pgbouncer-").tempdir().expect("a directory can be made");
        let port = server::free_port().expect("a port is free");
        let place = database.url().rsplit_once('@').expect("a URL with a user").1;
        let (host, name) = place.split_once('/').expect("a URL with a database");
        let (host, server_port) = host.split_once(':').unwrap_or((host, "5432"));
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={server_port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n{settings}\n"
        );
        fs::write(&file, text).expect("it can be written");
        if let Some(Account { uid, gid }) = account {
            chown(&directory, Some(uid), Some(gid)).expect("it can be given away");
            chown(&file, Some(uid), Some(gid)).expect("it can be given away");
        }
        let mut command = server::command(Path::new("sh"), directory.path(), account);
        command.arg("-c").arg(GUARDIAN).arg("guardian").arg(program).arg(&file);
        let guardian = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs");
        let pooler = Self { guardian, url: format!("postgres://postgres@127.0.0.1:{port}/{name}"), directory };
        for _ in 0..MAX_POLLS {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(pooler);
            }
            thread::sleep(POLL);
        }
        panic!("pgbouncer does not start:\n{}", pooler.log());
    }

    /// The URL of the database behind it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("pgbouncer.ini.log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

/// In `PATH`, or where Debian keeps it.
fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.map(|directory| directory.join("pgbouncer")).find(|program| program.is_file())
}
