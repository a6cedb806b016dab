//! Where an installation keeps its data: shared by every command that operates one.

use std::path::{Path, PathBuf};

use super::config::File;

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
    #[arg(long, env = "TOKEND_ALLOW_UNSAFE_DURABILITY")]
    allow_unsafe_durability: bool,
}

/// Where the data is, decided.
pub(super) struct Storage {
    pub(super) data_dir: PathBuf,
    pub(super) keyring: PathBuf,
    pub(super) store: tokend_store::Settings,
}

impl StorageArgs {
    pub(super) fn resolve(self, file: &mut File) -> Storage {
        let Self { data_dir, database_url, keyring, allow_unsafe_durability } = self;
        let data_dir = data_dir.or(file.data_dir.take()).unwrap_or_else(|| PathBuf::from("tokend-data"));
        let url = database_url.or(file.database_url.take()).unwrap_or_else(|| sqlite_url(&data_dir.join("tokend.db")));
        let keyring = keyring.or(file.keyring.take()).unwrap_or_else(|| data_dir.join("keyring"));
        let mut store = tokend_store::Settings::new(url);
        store.allow_unsafe_durability = allow_unsafe_durability || file.allow_unsafe_durability.unwrap_or(false);
        Storage { data_dir, keyring, store }
    }

    /// As [`resolve`](Self::resolve), for a command that serves nobody and can wait longer for the database.
    pub(super) fn resolve_for_command(self, file: &mut File) -> Storage {
        let storage = self.resolve(file);
        Storage { store: storage.store.for_command(), ..storage }
    }
}

/// The URL of a SQLite database in a file.
pub(super) fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}
