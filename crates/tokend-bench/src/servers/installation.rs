//! An installation of tokend as an operator creates it: `tokend init`, then `tokend serve`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use prost::Message;
use tempfile::TempDir;
use tokend_client::{CallerKey, Client, v1};
use tokend_core::{name::WorkspaceId, time::Clock};
use tokend_store::Store;
use tokend_test_support::postgres;

use super::{Certificate, ServerProcess};
use crate::{
    BoxError,
    load::{self, Load, Loaded, Pace, Plan},
    tokens::{self, Filled},
};

const WORKSPACE: &str = "bench";
/// The scope that every token has, and that every call requires.
const SCOPE: &str = "repository:write";
/// The resource of every call.
const RESOURCE: &str = "workspaces/bench/repositories/app";

/// The name of the configuration file.
const CONFIG: &str = "tokend.toml";

/// Calls and connections may last longer than by default, because the machine may be busy, and valgrind is slow. This
/// changes nothing about a call that is fast enough.
const PATIENCE: &str = "[limits]
verify_deadline_ms = 60000
body_deadline_ms = 60000
connection_age_ms = 7200000
";

/// A data directory, a database with tokens, and the key of a VERIFIER.
pub struct Installation {
    /// The data directory, unless that is somewhere else, and the files of the servers.
    directory: TempDir,
    data: PathBuf,
    database: Database,
    key: String,
    tokens: Vec<Filled>,
}

/// The database of an installation.
pub enum Database {
    /// A file in the data directory.
    Sqlite,
    /// A database of its own on a PostgreSQL server that was started for this run.
    Postgres(postgres::Database),
    /// The database at a URL.
    At(String),
}

/// Requests that are all to be allowed, and the names of their tokens.
pub struct Questions {
    /// The encoded requests.
    pub messages: Vec<Vec<u8>>,
    /// The names of their tokens.
    pub names: Vec<String>,
}

impl Questions {
    /// Returns as many batches as there are questions, each of this size, and the names of their tokens.
    #[must_use]
    pub fn batches(&self, size: usize) -> (Vec<Vec<u8>>, Vec<Vec<String>>) {
        let count = self.messages.len();
        let of = |first: usize| (first..first + size).map(move |place| place % count);
        let message = |first| {
            let requests = of(first).map(|place| v1::VerifyRequest::decode(&*self.messages[place]));
            let requests = requests.map(Result::unwrap_or_default).collect();
            v1::BatchVerifyRequest { requests }.encode_to_vec()
        };
        let names = |first| of(first).map(|place| self.names[place].clone()).collect();
        ((0..count).map(message).collect(), (0..count).map(names).collect())
    }
}

impl Installation {
    /// Creates an installation with this many tokens, with the program at `tokend`.
    ///
    /// # Errors
    /// The program fails, or the database can't be filled.
    pub async fn new(tokend: &Path, database: Database, tokens: usize) -> Result<Self, BoxError> {
        let (mut this, admin) = Self::init(tokend, database)?;
        let store = this.open().await?;
        this.fill(&store, tokens).await?;
        store.close().await;
        this.create_verifier(tokend, &admin).await?;
        Ok(this)
    }

    /// Creates an installation with the tokens of a load, and with `tokens` more that calls verify.
    ///
    /// # Errors
    /// The program fails, or the database can't be filled.
    pub async fn loaded(
        tokend: &Path,
        database: Database,
        load: Load,
        tokens: usize,
    ) -> Result<(Self, Loaded), BoxError> {
        let (mut this, admin) = Self::init(tokend, database)?;
        let store = this.open().await?;
        let (loaded, _) = load::fill(&store, Plan::new(load, 0)?, Pace::of(&store), None).await?;
        this.fill(&store, tokens).await?;
        store.close().await;
        this.create_verifier(tokend, &admin).await?;
        Ok((this, loaded))
    }

    /// Uses an installation that exists, and adds `tokens` tokens that calls verify, and a VERIFIER. No server may be
    /// running on it.
    ///
    /// # Errors
    /// The program fails, or there is no installation.
    pub async fn existing(
        tokend: &Path,
        data: PathBuf,
        url: Option<String>,
        tokens: usize,
    ) -> Result<(Self, u64), BoxError> {
        let mut this = Self {
            directory: tempfile::tempdir()?,
            data,
            database: url.map_or(Database::Sqlite, Database::At),
            key: String::new(),
            tokens: Vec::new(),
        };
        this.set_limits("")?;
        let store = this.open().await?;
        let stored = load::stored(&store).await?;
        this.fill(&store, tokens).await?;
        store.close().await;
        let admin = this.run(tokend, "init", &["--recover"])?;
        this.create_verifier(tokend, &admin).await?;
        Ok((this, stored))
    }

    /// Creates an installation without tokens. Returns the key of its ADMIN, too.
    fn init(tokend: &Path, database: Database) -> Result<(Self, String), BoxError> {
        let directory = tempfile::tempdir()?;
        let this = Self {
            data: directory.path().join("data"),
            directory,
            database,
            key: String::new(),
            tokens: Vec::new(),
        };
        let admin = this.run(tokend, "init", &[])?;
        this.set_limits("")?;
        Ok((this, admin))
    }

    /// Runs a command to its end, and returns the line that it prints.
    fn run(&self, tokend: &Path, subcommand: &str, arguments: &[&str]) -> Result<String, BoxError> {
        let ended = self.tokend(tokend, subcommand).args(arguments).output()?;
        if !ended.status.success() {
            let error = String::from_utf8_lossy(&ended.stderr).into_owned();
            return Err(format!("`tokend {subcommand}` failed: {error}").into());
        }
        Ok(String::from_utf8(ended.stdout)?.trim().to_owned())
    }

    /// Returns a copy. No server may be running on this one.
    ///
    /// # Errors
    /// A file can't be copied.
    pub fn copy(&self) -> Result<Self, BoxError> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::metadata(&self.data)?.permissions())?;
        for file in fs::read_dir(&self.data)? {
            let file = file?;
            fs::copy(file.path(), data.join(file.file_name()))?;
        }
        fs::copy(self.config(), directory.path().join(CONFIG))?;
        Ok(Self {
            directory,
            data,
            database: match &self.database {
                Database::Sqlite => Database::Sqlite,
                Database::Postgres(database) => Database::Postgres(database.copy()),
                Database::At(_) => return Err("a database that is given by its URL is not copied".into()),
            },
            key: self.key.clone(),
            tokens: self.tokens.clone(),
        })
    }

    /// Starts `tokend serve` with its defaults on free loopback ports. `name` is for its files.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve(&self, tokend: &Path, name: &str, tls: Option<&Certificate>) -> Result<ServerProcess, BoxError> {
        self.serve_under(&[], tokend, name, tls)
    }

    /// Starts `tokend serve` as the last arguments of another program, such as valgrind.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_under(
        &self,
        wrapper: &[String],
        tokend: &Path,
        name: &str,
        tls: Option<&Certificate>,
    ) -> Result<ServerProcess, BoxError> {
        let mut command = match wrapper {
            [] => self.tokend(tokend, "serve"),
            [program, arguments @ ..] => {
                let mut command = super::command(Path::new(program));
                command.args(arguments).arg(tokend);
                self.with_arguments(command, "serve")
            }
        };
        command.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        if let Some(tls) = tls {
            command
                .arg("--tls-cert")
                .arg(tls.certificate())
                .arg("--tls-key")
                .arg(tls.key());
        }
        let path = |extension: &str| self.directory.path().join(format!("{name}.{extension}"));
        ServerProcess::start_tokend(command, &path("ready"), &path("log"))
    }

    /// Changes the limits of servers that are started from now on. `limits` are further lines of the section.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn set_limits(&self, limits: &str) -> Result<(), BoxError> {
        Ok(fs::write(self.config(), format!("{PATIENCE}{limits}"))?)
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join(CONFIG)
    }

    /// Returns the key of a VERIFIER of the workspace.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns one question about each of the first `count` tokens.
    #[must_use]
    pub fn questions(&self, count: usize) -> Questions {
        let tokens = &self.tokens[..count.min(self.tokens.len())];
        let message = |token: &Filled| {
            v1::VerifyRequest {
                token: token.secret.expose().to_owned(),
                resource: RESOURCE.to_owned(),
                required_scopes: vec![SCOPE.to_owned()],
                ..Default::default()
            }
            .encode_to_vec()
        };
        Questions {
            messages: tokens.iter().map(message).collect(),
            names: tokens.iter().map(|token| token.name.to_string()).collect(),
        }
    }

    fn tokend(&self, tokend: &Path, subcommand: &str) -> Command {
        self.with_arguments(super::command(tokend), subcommand)
    }

    fn with_arguments(&self, mut command: Command, subcommand: &str) -> Command {
        command.arg(subcommand).arg("--data-dir").arg(&self.data);
        if self.config().exists() {
            command.arg("--config").arg(self.config());
        }
        if let Some(url) = self.url() {
            command.args(["--database-url", url]);
        }
        command
    }

    /// Returns the URL of a database outside the data directory.
    fn url(&self) -> Option<&str> {
        match &self.database {
            Database::Sqlite => None,
            Database::Postgres(database) => Some(database.url()),
            Database::At(url) => Some(url),
        }
    }

    async fn open(&self) -> Result<Store, BoxError> {
        load::open(&self.data, self.url()).await
    }

    async fn fill(&mut self, store: &Store, size: usize) -> Result<(), BoxError> {
        let workspace: WorkspaceId = WORKSPACE.parse()?;
        // An existing installation may have it.
        let _ = tokens::insert_workspace(store, &workspace).await?;
        self.tokens = tokens::fill(store, &workspace, size).await?;
        Ok(())
    }

    /// Creates the caller that makes the calls.
    async fn create_verifier(&mut self, tokend: &Path, admin: &str) -> Result<(), BoxError> {
        let server = self.serve(tokend, "setup", None)?;
        self.key = create_verifier(&server, admin).await?;
        server.stop()
    }
}

/// Creates a caller that may verify the tokens of the workspace. Returns its key.
async fn create_verifier(server: &ServerProcess, admin: &str) -> Result<String, BoxError> {
    let client = Client::connect(&server.address().to_string(), &CallerKey::new(admin)?).await?;
    // An existing installation may have those of earlier runs.
    let id = format!("bench-{}", Clock::system().boot_time().as_micros());
    let caller = v1::CreateCallerRequest {
        caller_id: id.clone(),
        role: v1::Role::Verifier.into(),
        workspaces: Some(v1::Selection {
            all: false,
            only: vec![format!("workspaces/{WORKSPACE}")],
        }),
        certificate_sans: Vec::new(),
    };
    client.caller_admin().create_caller(caller).await?;
    let key = v1::CreateCallerKeyRequest {
        parent: format!("callers/{id}"),
        ttl: None,
    };
    Ok(client.caller_admin().create_caller_key(key).await?.into_inner().secret)
}
