//! Where an installation keeps its data: shared by every command that operates one.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::config::{File, switch};
use crate::failure::Failure;

/// Where the data is.
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

    /// Use a PostgreSQL that may forget what it has acknowledged (fsync or synchronous_commit off)
    #[arg(long, env = "TOKEND_ALLOW_UNSAFE_DURABILITY", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch())]
    allow_unsafe_durability: Option<bool>,
}

/// Where the data is, decided.
pub(super) struct Storage {
    pub(super) data_dir: PathBuf,
    pub(super) keyring: PathBuf,
    pub(super) store: tokend_store::Settings,
}

impl StorageArgs {
    /// Decides where the data is.
    ///
    /// # Errors
    /// Something is to be kept in a data directory that others can write to.
    pub(super) fn resolve(self, file: &mut File) -> Result<Storage, Failure> {
        let Self { data_dir, database_url, keyring, allow_unsafe_durability } = self;
        let data_dir = data_dir.or(file.data_dir.take()).unwrap_or_else(|| PathBuf::from("tokend-data"));
        let (url, keyring) = (database_url.or(file.database_url.take()), keyring.or(file.keyring.take()));
        if url.is_none() || keyring.is_none() {
            check_directory(&data_dir)?;
        }
        let url = url.unwrap_or_else(|| sqlite_url(&data_dir.join("tokend.db")));
        let keyring = keyring.unwrap_or_else(|| data_dir.join("keyring"));
        let mut store = tokend_store::Settings::new(url);
        store.allow_unsafe_durability = allow_unsafe_durability.or(file.allow_unsafe_durability).unwrap_or(false);
        Ok(Storage { data_dir, keyring, store })
    }

    /// As [`resolve`](Self::resolve), for a command that serves nobody and can wait longer for the database.
    ///
    /// # Errors
    /// As of [`resolve`](Self::resolve).
    pub(super) fn resolve_for_command(self, file: &mut File) -> Result<Storage, Failure> {
        let storage = self.resolve(file)?;
        Ok(Storage { store: storage.store.for_command(), ..storage })
    }
}

/// Whoever can write to the directory can put another key ring or database in the place of ours, or one there before `init` does.
fn check_directory(path: &Path) -> Result<(), Failure> {
    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    /// Marks a directory that is shared with a group on purpose, as Kubernetes does for a volume with an `fsGroup`.
    const SET_GROUP_ID: u32 = 0o2000;
    // That there is none, or that it is a file, shows soon enough.
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let mode = metadata.mode() & 0o7777;
    let is_shared = mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITES != 0 && mode & SET_GROUP_ID == 0);
    if !metadata.is_dir() || !is_shared {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Other(format!(
        "the data directory {path} has mode {mode:04o}, so that others can put another key ring or database there; run `chmod go-w {path}`, or give a --data-dir of its own"
    )))
}

/// The URL of a SQLite database in a file.
pub(super) fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}
