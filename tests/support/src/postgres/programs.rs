use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The directory where Debian installs the programs of each version, outside `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs that create and run a database cluster.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    /// Only tests with a standby need this program.
    pub(super) pg_basebackup: PathBuf,
}

impl Programs {
    /// Returns the programs in `PATH`, or those of the newest version that Debian has installed.
    pub(super) fn find() -> Option<Self> {
        Self::all().next()
    }

    /// Like [`find`](Self::find), and also requires `pg_basebackup`.
    pub(super) fn find_with_backup() -> Option<Self> {
        Self::all().find(|programs| programs.pg_basebackup.is_file())
    }

    fn all() -> impl Iterator<Item = Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories: Vec<_> = env::split_paths(&path).chain(debian_versions()).collect();
        directories
            .into_iter()
            .filter_map(|directory| Self::in_directory(&directory))
    }

    fn in_directory(directory: &Path) -> Option<Self> {
        let program = |name| directory.join(name);
        let programs = Self {
            initdb: program("initdb"),
            postgres: program("postgres"),
            pg_basebackup: program("pg_basebackup"),
        };
        (programs.initdb.is_file() && programs.postgres.is_file()).then_some(programs)
    }
}

/// Returns the directories of the installed versions, newest first.
fn debian_versions() -> Vec<PathBuf> {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut versions: Vec<_> = entries
        .map(|entry| entry.path())
        .filter_map(|path| Some((version(&path)?, path)))
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, path)| path.join("bin")).collect()
}
