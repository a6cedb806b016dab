//! The progress of a load, on stderr.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokend_core::time::{BootTime, Clock};

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// Counts the tokens that are stored, and prints a line every two seconds.
pub(super) struct Progress {
    clock: Clock,
    is_shown: bool,
    all: u64,
    start: BootTime,
    state: Mutex<State>,
}

struct State {
    /// Tokens that were stored since the start.
    inserted: u64,
    /// Tokens that are in the database.
    stored: u64,
    printed: BootTime,
}

impl Progress {
    /// Begins with this many tokens of `all` in the database.
    pub(super) fn new(stored: u64, all: u64, is_shown: bool) -> Self {
        let clock = Clock::system();
        let start = clock.boot_time();
        let this = Self {
            clock,
            is_shown,
            all,
            start,
            state: Mutex::new(State {
                inserted: 0,
                stored,
                printed: start,
            }),
        };
        match stored {
            0 => {}
            _ if stored == all => this.print(&format!("all {all} tokens are stored already")),
            _ => this.print(&format!(
                "{stored} of {all} tokens are stored already; going on with the others"
            )),
        }
        this
    }

    /// Adds tokens that were committed.
    pub(super) fn add(&self, tokens: u64) {
        let now = self.clock.boot_time();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.inserted += tokens;
        state.stored += tokens;
        if now.saturating_since(state.printed) < INTERVAL {
            return;
        }
        state.printed = now;
        let rate = rate(state.inserted, now.saturating_since(self.start));
        self.print(&line(state.stored, self.all, rate));
    }

    /// Returns how many tokens were stored since the start, and how long that took.
    pub(super) fn end(&self) -> (u64, Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.inserted, self.clock.boot_time().saturating_since(self.start))
    }

    /// Failure to write is ignored.
    fn print(&self, line: &str) {
        if self.is_shown {
            let _ = writeln!(io::stderr(), "load: {line}");
        }
    }
}

/// Returns tokens per second; zero if no time has passed.
pub(super) fn rate(tokens: u64, took: Duration) -> f64 {
    if took.is_zero() {
        return 0.0;
    }
    tokens as f64 / took.as_secs_f64()
}

fn line(stored: u64, all: u64, rate: f64) -> String {
    let percent = stored as f64 / all as f64 * 100.0;
    let left = (all.saturating_sub(stored)) as f64 / rate.max(1.0);
    let (minutes, seconds) = (left as u64 / 60, left as u64 % 60);
    format!("{stored} of {all} tokens ({percent:.1} %), {rate:.0} tokens/s, {minutes} min {seconds:02} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long() {
        assert_eq!(
            line(250_000, 1_000_000, 5_000.0),
            "250000 of 1000000 tokens (25.0 %), 5000 tokens/s, 2 min 30 s left"
        );
        assert!((rate(10, Duration::from_secs(4)) - 2.5).abs() < 1e-9 && rate(10, Duration::ZERO) == 0.0);
    }
}
