//! An installation of tokend as an operator creates it: `tokend init`, then `tokend serve`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use prost::Message;
use tempfile::TempDir;
use tokend_client::{CallerKey, Client, v1};
use tokend_core::{name::WorkspaceId, time::Clock};
use tokend_server::operator::keyring_file;
use tokend_store::{Store, StoreSettings};
use tokend_test_support::postgres;

use super::{Certificate, ServerProcess};
use crate::{
    BoxError,
    tokens::{self, Filled},
};

const WORKSPACE: &str = "bench";
/// The scope that every token has, and that every call requires.
const SCOPE: &str = "repository:write";
/// The resource of every call.
const RESOURCE: &str = "workspaces/bench/repositories/app";

/// Calls and connections may last longer than by default, because the machine may be busy, and valgrind is slow. This
/// changes nothing about a call that is fast enough.
const PATIENCE: &str = "[limits]
verify_deadline_ms = 60000
body_deadline_ms = 60000
connection_age_ms = 7200000
";

/// A data directory, a database with tokens, and the key of a VERIFIER.
pub struct Installation {
    directory: TempDir,
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
}

/// Requests that are all to be allowed, and the names of their tokens.
pub struct Questions {
    /// The encoded requests.
    pub messages: Vec<Vec<u8>>,
    /// The names of their tokens.
    pub names: Vec<String>,
}

impl Installation {
    /// Creates an installation with this many tokens, with the program at `tokend`.
    ///
    /// # Errors
    /// The program fails, or the database can't be filled.
    pub async fn new(tokend: &Path, database: Database, tokens: usize) -> Result<Self, BoxError> {
        let mut this = Self {
            directory: tempfile::tempdir()?,
            database,
            key: String::new(),
            tokens: Vec::new(),
        };
        let created = this.tokend(tokend, "init").output()?;
        if !created.status.success() {
            return Err(format!("`tokend init` failed: {}", String::from_utf8_lossy(&created.stderr)).into());
        }
        let admin = String::from_utf8(created.stdout)?;
        this.set_limits("")?;
        this.fill(tokens).await?;
        let server = this.serve(tokend, "setup", None)?;
        this.key = create_verifier(&server, admin.trim()).await?;
        server.stop()?;
        Ok(this)
    }

    /// Returns a copy. No server may be running on this one.
    ///
    /// # Errors
    /// A file can't be copied.
    pub fn copy(&self) -> Result<Self, BoxError> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(data(&directory))?;
        fs::set_permissions(data(&directory), fs::metadata(data(&self.directory))?.permissions())?;
        for file in fs::read_dir(data(&self.directory))? {
            let file = file?;
            fs::copy(file.path(), data(&directory).join(file.file_name()))?;
        }
        Ok(Self {
            directory,
            database: match &self.database {
                Database::Sqlite => Database::Sqlite,
                Database::Postgres(database) => Database::Postgres(database.copy()),
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
        data(&self.directory).join("tokend.toml")
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
        command.arg(subcommand).arg("--data-dir").arg(data(&self.directory));
        if self.config().exists() {
            command.arg("--config").arg(self.config());
        }
        if let Database::Postgres(database) = &self.database {
            command.args(["--database-url", database.url()]);
        }
        command
    }

    async fn fill(&mut self, size: usize) -> Result<(), BoxError> {
        let url = match &self.database {
            Database::Sqlite => format!("sqlite://{}", data(&self.directory).join("tokend.db").display()),
            Database::Postgres(database) => database.url().to_owned(),
        };
        let roots = keyring_file::read(&data(&self.directory).join("keyring"))?;
        let store = Store::open(&StoreSettings::new(url), Arc::new(roots), Clock::system()).await?;
        let workspace: WorkspaceId = WORKSPACE.parse()?;
        tokens::create_workspace(&store, &workspace).await?;
        self.tokens = tokens::fill(&store, &workspace, size).await?;
        store.close().await;
        Ok(())
    }
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// Creates a caller that may verify the tokens of the workspace. Returns its key.
async fn create_verifier(server: &ServerProcess, admin: &str) -> Result<String, BoxError> {
    let client = Client::connect(&server.address().to_string(), &CallerKey::new(admin)?).await?;
    let caller = v1::CreateCallerRequest {
        caller_id: "bench".to_owned(),
        role: v1::Role::Verifier.into(),
        workspaces: Some(v1::Selection {
            all: false,
            only: vec![format!("workspaces/{WORKSPACE}")],
        }),
        certificate_sans: Vec::new(),
    };
    client.caller_admin().create_caller(caller).await?;
    let key = v1::CreateCallerKeyRequest {
        parent: "callers/bench".to_owned(),
        ttl: None,
    };
    Ok(client.caller_admin().create_caller_key(key).await?.into_inner().secret)
}
