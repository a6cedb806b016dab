//! The CPU time of a process, from `/proc/PID/task/*/schedstat`.
//!
//! The first number there is the time in nanoseconds that a thread has run. It includes system calls, and the part of
//! the kernel's network stack that runs inside them. The kernel updates it when a thread is switched or at its clock's
//! tick, so a reading may be late by a few milliseconds for each running thread: windows must be longer than that.

use std::{collections::BTreeMap, fs, io, path::PathBuf, time::Duration};

/// The CPU time of each thread of a process.
#[derive(Clone, Debug, Default)]
pub struct CpuTimes(BTreeMap<u32, u64>);

impl CpuTimes {
    /// Reads the times of the process with this id.
    ///
    /// # Errors
    /// There is no such process, or the kernel does not provide the files.
    pub fn read(pid: u32) -> io::Result<Self> {
        let mut times = BTreeMap::new();
        for task in fs::read_dir(PathBuf::from(format!("/proc/{pid}/task")))? {
            let task = task?;
            // A thread may end while its directory is read.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let (Some(id), Some(time)) = (
                task.file_name().to_str().and_then(|id| id.parse().ok()),
                run_time(&text),
            ) else {
                return Err(io::Error::other(format!("can't parse {}", task.path().display())));
            };
            times.insert(id, time);
        }
        if times.is_empty() {
            return Err(io::Error::other("the kernel provides no /proc/PID/task/*/schedstat"));
        }
        Ok(Self(times))
    }

    /// Returns the CPU time that the process has used since `earlier`. What a thread used that has ended since is
    /// missing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let used = self
            .0
            .iter()
            .map(|(id, time)| time.saturating_sub(earlier.0.get(id).copied().unwrap_or(0)));
        Duration::from_nanos(used.sum())
    }
}

/// Returns the first of the three numbers of a schedstat file.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokend_core::time::Clock;

    use super::*;

    #[test]
    fn a_new_thread_counts_in_full_and_one_that_ended_does_not() {
        let earlier = CpuTimes(BTreeMap::from([(1, 100), (2, 50)]));
        let later = CpuTimes(BTreeMap::from([(1, 130), (3, 7)]));
        assert_eq!(later.since(&earlier), Duration::from_nanos(37));
    }

    #[test]
    fn the_run_time_is_the_first_number() {
        assert_eq!(run_time("123456 789 12\n"), Some(123_456));
        assert_eq!(run_time(""), None);
    }

    #[test]
    fn work_of_this_process_shows() {
        let clock = Clock::system();
        let own = || CpuTimes::read(std::process::id()).expect("Linux provides it");
        let (before, start) = (own(), clock.boot_time());
        while clock.boot_time().saturating_since(start) < Duration::from_millis(100) {}
        assert!(own().since(&before) > Duration::from_millis(10), "{before:?}");
    }
}
