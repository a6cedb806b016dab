//! How idle the machine was while something was measured.

use std::{fs, io, thread, time::Duration};

use serde::Serialize;

use crate::{BoxError, cpu::CpuTimes};

/// The unit of `/proc/stat`, which Linux fixes for programs (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// A machine that is being watched.
pub struct Watch {
    pids: Vec<u32>,
    own: Vec<CpuTimes>,
    ticks: Ticks,
}

/// How busy the machine was.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Busy {
    /// Cores of the machine.
    pub cores: usize,
    /// The part of their time (0 to 1) that other programs, and other guests of the same host, used.
    pub others: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Watch {
    /// Begins. This process and those with these ids are not counted as others.
    ///
    /// # Errors
    /// One of the processes does not exist.
    pub fn begin(pids: impl IntoIterator<Item = u32>) -> Result<Self, BoxError> {
        let pids: Vec<u32> = pids.into_iter().chain([std::process::id()]).collect();
        Ok(Self {
            own: read(&pids)?,
            ticks: Ticks::read()?,
            pids,
        })
    }

    /// Returns how busy the machine has been since.
    ///
    /// # Errors
    /// One of the processes has ended.
    pub fn end(self) -> Result<Busy, BoxError> {
        let (own, ticks) = (read(&self.pids)?, Ticks::read()?);
        let own: Duration = own.iter().zip(&self.own).map(|(now, before)| now.since(before)).sum();
        let own = own.as_secs_f64() / TICK.as_secs_f64();
        let (busy, all) = (ticks.busy - self.ticks.busy, ticks.all - self.ticks.all);
        Ok(Busy {
            cores: thread::available_parallelism()?.get(),
            others: ((busy as f64 - own) / (all as f64).max(1.0)).max(0.0),
        })
    }
}

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cores, others } = self;
        write!(
            f,
            "{cores} cores, {:.0} % of them used by other programs",
            others * 100.0
        )
    }
}

fn read(pids: &[u32]) -> io::Result<Vec<CpuTimes>> {
    pids.iter().map(|pid| CpuTimes::read(*pid)).collect()
}

impl Ticks {
    fn read() -> Result<Self, BoxError> {
        let stat = fs::read_to_string("/proc/stat")?;
        Ok(Self::parse(&stat).ok_or("can't parse /proc/stat")?)
    }

    /// Parses the first line: `cpu user nice system idle iowait irq softirq steal ...`, see proc(5).
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let numbers: Vec<u64> = line
            .split_ascii_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        let all = numbers.get(..8)?.iter().sum();
        Some(Self {
            busy: all - numbers[3] - numbers[4],
            all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_for_a_disk_are_not_busy() {
        let ticks = Ticks::parse("cpu  10 1 5 100 20 2 3 4 0 0\ncpu0 1 1 1 1\n");
        assert_eq!(ticks, Some(Ticks { busy: 25, all: 145 }));
        assert_eq!(Ticks::parse("cpu  10 1"), None);
    }
}
