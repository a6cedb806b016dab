//! Copies an installation's database, without its key ring, so that a test can restore it later.

use std::{fs, path::PathBuf};

use crate::{Installation, postgres};

/// A copy of a database that no program was using.
#[derive(Debug)]
pub struct Backup(Kept);

#[derive(Debug)]
enum Kept {
    File(PathBuf),
    Database(postgres::Database),
}

impl Backup {
    /// Copies the database. No program may be using it.
    ///
    /// # Panics
    /// If the copy fails.
    pub async fn of(installation: &Installation) -> Self {
        if let Some(database) = installation.postgres() {
            return Self(Kept::Database(database.copy()));
        }
        let name = |number: u32| installation.directory().join(format!("backup-{number}.db"));
        let copy = (0..).map(name).find(|copy| !copy.exists()).expect("a name is free");
        // The copy is one file and includes the write-ahead log.
        installation.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
        Self(Kept::File(copy))
    }

    /// Replaces the database with the copy. No program may be using it.
    ///
    /// # Panics
    /// If the copy fails.
    pub async fn restore(&self, installation: &Installation) {
        match &self.0 {
            Kept::Database(copy) => installation
                .postgres()
                .expect("the installation is on PostgreSQL")
                .become_copy_of(copy),
            Kept::File(copy) => {
                for beside in ["tokend.db-wal", "tokend.db-shm"] {
                    // After a clean exit, these files do not exist.
                    let _ = fs::remove_file(installation.data_dir().join(beside));
                }
                fs::copy(copy, installation.data_dir().join("tokend.db")).expect("the file is copied");
            }
        }
    }
}
