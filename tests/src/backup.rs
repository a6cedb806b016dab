//! A copy of an installation's database, to be put back later. Its key ring is not part of it.

use std::{fs, path::PathBuf};

use crate::{Installation, postgres};

/// The database as it was when no program was using it.
#[derive(Debug)]
pub struct Backup(Kept);

#[derive(Debug)]
enum Kept {
    File(PathBuf),
    Database(postgres::Database),
}

impl Backup {
    /// Copies the database. Nothing may be running on it.
    ///
    /// # Panics
    /// If that fails.
    pub async fn of(installation: &Installation) -> Self {
        if let Some(database) = installation.postgres() {
            return Self(Kept::Database(database.copy()));
        }
        let name = |number: u32| installation.directory().join(format!("backup-{number}.db"));
        let copy = (0..).map(name).find(|copy| !copy.exists()).expect("a name is free");
        // Whole in one file, whatever stands in the log beside it.
        installation.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
        Self(Kept::File(copy))
    }

    /// Puts the copy in place of the database. Nothing may be running on it.
    ///
    /// # Panics
    /// If that fails.
    pub async fn restore(&self, installation: &Installation) {
        match &self.0 {
            Kept::Database(copy) => installation.postgres().expect("it is on PostgreSQL").become_copy_of(copy),
            Kept::File(copy) => {
                for beside in ["tokend.db-wal", "tokend.db-shm"] {
                    // There are none after a clean end.
                    let _ = fs::remove_file(installation.data_dir().join(beside));
                }
                fs::copy(copy, installation.data_dir().join("tokend.db")).expect("it can be copied");
            }
        }
    }
}
