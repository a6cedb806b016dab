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

/// The addresses that a test serves on.
pub const SERVE_ON_FREE_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];

/// A place for one tokend: the program, a directory, an empty database and a clock. Nothing is in it before [`Installation::init`].
/// Dropped, all of it is removed; what runs in it must be dropped first.
#[derive(Debug)]
pub struct Installation {
    program: PathBuf,
    storage: Storage,
    clock: clock::ControlFile,
    servers: AtomicU32,
    database: Option<postgres::Database>,
    /// A database that is none of this place's own, to be used instead.
    database_url: Option<String>,
    directory: TempDir,
}

impl Installation {
    /// A fresh place, or nothing if it needs PostgreSQL and there is none.
    pub(crate) fn new(program: &str, storage: Storage) -> Option<Self> {
        let database = match storage {
            Storage::Sqlite => None,
            Storage::Postgres => Some(postgres::database()?),
        };
        let directory = tempfile::Builder::new().prefix("tokend-test-").tempdir().expect("a directory can be made");
        let clock = clock::ControlFile::new(directory.path().join("clock"));
        let servers = AtomicU32::new(0);
        Some(Self { program: program.into(), storage, clock, servers, database, database_url: None, directory })
    }

    /// The same place, with its data in the database at `url`.
    #[must_use]
    pub fn on_database(self, url: impl Into<String>) -> Self {
        Self { database_url: Some(url.into()), ..self }
    }

    /// Its directory, in which its programs run.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory that its programs are told to use.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Its database on PostgreSQL.
    #[must_use]
    pub fn postgres(&self) -> Option<&postgres::Database> {
        self.database.as_ref()
    }

    /// The clock of its programs.
    #[must_use]
    pub fn clock(&self) -> &clock::ControlFile {
        &self.clock
    }

    /// The program with these arguments, in the directory, without any configuration of whoever runs the tests.
    #[must_use]
    pub fn command<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments.into_iter().map(|argument| OsString::from(argument.as_ref()))).current_dir(self.directory());
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("TOKEND_") {
                command.env_remove(variable);
            }
        }
        command.env(clock::VARIABLE, self.clock.path());
        command
    }

    /// The program with these arguments and those that say where the data is.
    #[must_use]
    pub fn command_on_data<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(arguments);
        command.arg("--data-dir").arg(self.data_dir());
        if let Some(url) = self.database_url.as_deref().or(self.postgres().map(postgres::Database::url)) {
            command.args(["--database-url", url]);
        }
        command
    }

    /// Runs the program on the data until it ends.
    pub async fn run_on_data<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        Process::spawn(self.command_on_data(arguments), "").finish().await
    }

    /// `tokend init`: the key of the first caller.
    ///
    /// # Panics
    /// If it fails.
    pub async fn init(&self) -> String {
        self.run_on_data(["init"]).await.succeeded().trim().to_owned()
    }

    /// `tokend init` and `tokend serve`.
    ///
    /// # Panics
    /// If one of them fails.
    pub async fn start(&self) -> Server {
        self.start_with::<&str>([]).await
    }

    /// `tokend init` and `tokend serve` with these arguments.
    ///
    /// # Panics
    /// If one of them fails.
    pub async fn start_with<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Server {
        let admin_key = self.init().await;
        self.serve_with(&admin_key, arguments).await
    }

    /// `tokend serve`, where the first caller's key is known.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn serve(&self, admin_key: &str) -> Server {
        self.serve_with::<&str>(admin_key, []).await
    }

    /// `tokend serve` with these arguments.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn serve_with<A: AsRef<str>>(&self, admin_key: &str, arguments: impl IntoIterator<Item = A>) -> Server {
        self.serve_over(&Tls::default(), admin_key, arguments).await
    }

    /// `tokend serve` with arguments that make it serve TLS, to clients that go by `tls`.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn serve_over<A: AsRef<str>>(&self, tls: &Tls, admin_key: &str, arguments: impl IntoIterator<Item = A>) -> Server {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let ready_file = self.directory().join(format!("ready-{number}"));
        let mut command = self.command_on_data(["serve"]);
        command.args(SERVE_ON_FREE_PORTS).arg("--ready-file").arg(&ready_file);
        let arguments: Vec<_> = arguments.into_iter().map(|argument| OsString::from(argument.as_ref())).collect();
        if !arguments.contains(&OsString::from("--config")) {
            command.arg("--config").arg(self.patient_settings());
        }
        command.args(arguments);
        Server::start(Process::spawn(command, ""), &ready_file, admin_key, tls).await
    }

    /// Settings under which a call may take its time, and a credential may fail as often as a test likes: how fast a busy machine is,
    /// and how patient, is not what most tests are about.
    fn patient_settings(&self) -> PathBuf {
        let file = self.directory().join("patient.toml");
        let deadlines = "verify_deadline_ms = 30000\nadmin_deadline_ms = 30000\nbody_deadline_ms = 30000";
        let database = "pool_wait_ms = 5000\nwrite_wait_ms = 10000\nlock_timeout_ms = 10000\nstatement_timeout_ms = 10000";
        let patience = format!("[limits]\n{deadlines}\n{database}\nfailed_authentications = 1000000\n");
        fs::write(&file, patience).expect("it can be written");
        file
    }
}
