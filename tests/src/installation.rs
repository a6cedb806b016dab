use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use tokend_client::Tls;

use crate::{Finished, Process, Server, Storage, clock, postgres};

/// Arguments that make a server listen on free ports of the loopback interface.
pub const SERVE_ON_FREE_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];

/// How long leases last in most tests: as short as they may.
const SHORT_LEASE: &str = "50ms";

/// The log level of the programs under test. A failing test prints what they logged.
const LOG: &str = "TOKEND_TEST_LOG";

/// One installation of tokend: the program, a directory, an empty database and a clock. [`Installation::init`]
/// initializes it. Dropping it removes everything; drop the programs that run in it first.
#[derive(Debug)]
pub struct Installation {
    program: PathBuf,
    storage: Storage,
    clock: clock::ControlFile,
    servers: AtomicU32,
    database: Option<postgres::Database>,
    /// A database to use instead of the installation's own.
    database_url: Option<String>,
    directory: TempDir,
}

impl Installation {
    /// Creates an empty installation. Returns nothing if it needs PostgreSQL and there is none.
    pub(crate) fn new(program: &str, storage: Storage) -> Option<Self> {
        let database = match storage {
            Storage::Sqlite => None,
            Storage::Postgres => Some(postgres::database()?),
        };
        Some(Self::with(program.into(), storage, database))
    }

    fn with(program: PathBuf, storage: Storage, database: Option<postgres::Database>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tokend-test-")
            .tempdir()
            .expect("a directory is created");
        let clock = clock::ControlFile::new(directory.path().join("clock"));
        Self {
            program,
            storage,
            clock,
            servers: AtomicU32::new(0),
            database,
            database_url: None,
            directory,
        }
    }

    /// Creates another empty installation of the same program on SQLite.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::with(self.program.clone(), Storage::Sqlite, None)
    }

    /// Moves its data to the database at `url`.
    #[must_use]
    pub fn on_database(self, url: impl Into<String>) -> Self {
        Self {
            database_url: Some(url.into()),
            ..self
        }
    }

    /// Returns its directory, which is the working directory of its programs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the data directory of its programs.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Returns the kind of its database.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Returns its database on PostgreSQL, if that is where its data is.
    #[must_use]
    pub fn postgres(&self) -> Option<&postgres::Database> {
        self.database.as_ref()
    }

    /// Returns the clock of its programs.
    #[must_use]
    pub fn clock(&self) -> &clock::ControlFile {
        &self.clock
    }

    /// Returns a command that runs the program in the directory, without the `TOKEND_` variables of the test
    /// process.
    #[must_use]
    pub fn command<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments.into_iter().map(|argument| OsString::from(argument.as_ref())))
            .current_dir(self.directory());
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("TOKEND_") {
                command.env_remove(variable);
            }
        }
        command.env(clock::VARIABLE, self.clock.path());
        if let Some(level) = env::var_os(LOG) {
            command.env("TOKEND_LOG", level);
        }
        command
    }

    /// Returns a command that runs the program, with arguments that say where the data is.
    #[must_use]
    pub fn command_on_data<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(arguments);
        command.arg("--data-dir").arg(self.data_dir());
        if let Some(url) = self
            .database_url
            .as_deref()
            .or(self.postgres().map(postgres::Database::url))
        {
            command.args(["--database-url", url]);
        }
        command
    }

    /// Runs the program on the data and waits until it exits.
    pub async fn run_on_data<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        Process::spawn(self.command_on_data(arguments), "").finish().await
    }

    /// Runs `tokend serve` on free ports, and returns the error message with which it refuses to start.
    ///
    /// # Panics
    /// If it starts.
    pub async fn refused_to_serve<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let mut command = self.command_on_data(["serve", "--log", "error"]);
        command.args(SERVE_ON_FREE_PORTS);
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        Process::spawn(command, "").finish().await.failed_with_a_sentence()
    }

    /// Runs `tokend init` and returns the key of the first caller.
    ///
    /// # Panics
    /// If it fails.
    pub async fn init(&self) -> String {
        self.init_with::<&str>([]).await
    }

    /// Runs `tokend init` with these arguments, and returns the key of the first caller. Leases are short unless the
    /// arguments say otherwise, so that revocations return soon.
    ///
    /// # Panics
    /// If it fails.
    pub async fn init_with<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let arguments: Vec<_> = arguments
            .into_iter()
            .map(|argument| OsString::from(argument.as_ref()))
            .collect();
        let mut command = self.command_on_data(["init"]);
        if !arguments.contains(&OsString::from("--lease")) {
            command.args(["--lease", SHORT_LEASE]);
        }
        command.args(arguments);
        let finished = Process::spawn(command, "").finish().await;
        finished.succeeded().trim().to_owned()
    }

    /// Runs `tokend init` and starts `tokend serve`.
    ///
    /// # Panics
    /// If one of them fails.
    pub async fn start(&self) -> Server {
        self.start_with::<&str>([]).await
    }

    /// Runs `tokend init` and starts `tokend serve` with these arguments.
    ///
    /// # Panics
    /// If one of them fails.
    pub async fn start_with<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Server {
        let admin_key = self.init().await;
        self.serve_with(&admin_key, arguments).await
    }

    /// Starts `tokend serve`. `admin_key` is the key of the first caller.
    ///
    /// # Panics
    /// If the program exits instead of serving.
    pub async fn serve(&self, admin_key: &str) -> Server {
        self.serve_with::<&str>(admin_key, []).await
    }

    /// Starts `tokend serve` with these arguments.
    ///
    /// # Panics
    /// If the program exits instead of serving.
    pub async fn serve_with<A: AsRef<str>>(&self, admin_key: &str, arguments: impl IntoIterator<Item = A>) -> Server {
        self.serve_over(&Tls::default(), admin_key, arguments).await
    }

    /// Starts `tokend serve` with arguments that make it serve TLS. Its clients connect with `tls`.
    ///
    /// # Panics
    /// If the program exits instead of serving.
    pub async fn serve_over<A: AsRef<str>>(
        &self,
        tls: &Tls,
        admin_key: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Server {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let ready_file = self.directory().join(format!("ready-{number}"));
        let mut command = self.command_on_data(["serve"]);
        command.args(SERVE_ON_FREE_PORTS).arg("--ready-file").arg(&ready_file);
        let arguments: Vec<_> = arguments
            .into_iter()
            .map(|argument| OsString::from(argument.as_ref()))
            .collect();
        if !arguments.contains(&OsString::from("--config")) {
            command.arg("--config").arg(self.patient_settings());
        }
        command.args(arguments);
        Server::start(Process::spawn(command, ""), &ready_file, admin_key, tls).await
    }

    /// Writes settings with long deadlines and without a limit on failed authentications, because most tests need
    /// neither and the machine may be busy.
    fn patient_settings(&self) -> PathBuf {
        let file = self.directory().join("patient.toml");
        let deadlines = "verify_deadline_ms = 30000\nadmin_deadline_ms = 30000\nbody_deadline_ms = 30000";
        let database =
            "pool_wait_ms = 5000\nwrite_wait_ms = 10000\nlock_timeout_ms = 10000\nstatement_timeout_ms = 10000";
        let patience = format!("[limits]\n{deadlines}\n{database}\nfailed_authentications = 1000000\n");
        fs::write(&file, patience).expect("the file is written");
        file
    }
}
