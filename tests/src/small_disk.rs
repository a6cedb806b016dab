use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use tokend_test_support::did_not_run;

/// The name of the file that fills the disk.
const FILLER: &str = "filler";

/// A small file system in memory, mounted on a directory. Dropping this value unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Creates `directory` and mounts a file system of `megabytes` there. Where this process may not mount, prints that
    /// the test did not run and returns nothing.
    ///
    /// # Panics
    /// If the directory can't be created.
    #[must_use]
    pub fn mount(directory: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(directory).expect("the directory is created");
        let options = format!("size={megabytes}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tokend-test"])
            .arg(directory)
            .output();
        let problem = match mounted {
            Ok(output) if output.status.success() => {
                return Some(Self {
                    directory: directory.to_owned(),
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        did_not_run(&format!("can't mount a tmpfs: {problem}"));
        None
    }

    /// Fills the disk.
    ///
    /// # Panics
    /// If writing fails for another reason than a full disk.
    pub fn fill(&self) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(FILLER))
            .expect("the file is created");
        for piece in [64 * 1024, 512, 1] {
            let full = loop {
                if let Err(error) = filler.write_all(&vec![0; piece]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
        }
    }

    /// Frees the space that [`fill`](Self::fill) took.
    ///
    /// # Panics
    /// If nothing was filled.
    pub fn free(&self) {
        fs::remove_file(self.directory.join(FILLER)).expect("the file is removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Unmount lazily, because a server that still runs keeps its files open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.directory).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            // A second panic during unwinding would abort the process.
            let _ = writeln!(io::stderr(), "can't unmount {}", self.directory.display());
        }
    }
}
