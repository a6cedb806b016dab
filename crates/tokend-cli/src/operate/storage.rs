//! The location of an installation's data: flags that all operating commands share.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::config::{File, switch};
use crate::command_error::CommandError;

/// The flags for the location of the data.
#[derive(Debug, clap::Args)]
pub(crate) struct StorageArgs {
    /// The directory of the SQLite database and the key ring [default: ./tokend-data]
    #[arg(long, value_name = "DIR", env = "TOKEND_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// The database: sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE [default: tokend.db in the data directory]
    #[arg(long, value_name = "URL", env = "TOKEND_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The key ring's file [default: keyring in the data directory]
    #[arg(long, value_name = "FILE", env = "TOKEND_KEYRING")]
    keyring: Option<PathBuf>,

    /// Accept a PostgreSQL server that can lose acknowledged writes (fsync or synchronous_commit is off)
    #[arg(
        long, env = "TOKEND_ALLOW_UNSAFE_DURABILITY", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch(),
    )]
    allow_unsafe_durability: Option<bool>,
}

/// The location of the data.
pub(super) struct Storage {
    pub(super) data_dir: PathBuf,
    pub(super) keyring: PathBuf,
    pub(super) store: tokend_store::StoreSettings,
}

impl StorageArgs {
    /// Resolves the location of the data.
    ///
    /// # Errors
    /// Other users can write to the data directory, and something is kept in it.
    pub(super) fn resolve(self, file: &mut File) -> Result<Storage, CommandError> {
        let Self {
            data_dir,
            database_url,
            keyring,
            allow_unsafe_durability,
        } = self;
        let data_dir = data_dir
            .or(file.data_dir.take())
            .unwrap_or_else(|| PathBuf::from("tokend-data"));
        let (url, keyring) = (
            database_url.or(file.database_url.take()),
            keyring.or(file.keyring.take()),
        );
        if url.is_none() || keyring.is_none() {
            check_directory(&data_dir)?;
        }
        let url = url.unwrap_or_else(|| sqlite_url(&data_dir.join("tokend.db")));
        let keyring = keyring.unwrap_or_else(|| data_dir.join("keyring"));
        let mut store = tokend_store::StoreSettings::new(url);
        store.allow_unsafe_durability = allow_unsafe_durability
            .or(file.allow_unsafe_durability)
            .unwrap_or(false);
        Ok(Storage {
            data_dir,
            keyring,
            store,
        })
    }

    /// Resolves the location for a command, which can wait longer for the database than a server.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve).
    pub(super) fn resolve_for_command(self, file: &mut File) -> Result<Storage, CommandError> {
        let storage = self.resolve(file)?;
        Ok(Storage {
            store: storage.store.for_command(),
            ..storage
        })
    }
}

/// Rejects a directory that others can write to: they could replace the key ring or the database, or put their own
/// there before `init` does.
fn check_directory(path: &Path) -> Result<(), CommandError> {
    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    /// Set on directories that are shared with a group on purpose, such as a Kubernetes volume with an `fsGroup`.
    const SET_GROUP_ID: u32 = 0o2000;
    // A missing directory, or a file in its place, is reported when it is used.
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    let mode = metadata.mode() & 0o7777;
    let is_shared = mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITES != 0 && mode & SET_GROUP_ID == 0);
    if !metadata.is_dir() || !is_shared {
        return Ok(());
    }
    let path = path.display();
    Err(CommandError::Other(format!(
        "the data directory {path} has mode {mode:04o}, so other users could replace the key ring or the database; run \
         `chmod go-w {path}`, or choose another --data-dir"
    )))
}

/// Returns the URL of a SQLite database file.
pub(super) fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}
