//! Progress of long commands.

use std::io::{self, IsTerminal, Stderr, Write};

use crate::terminal::printable;

/// Prints the progress of a long command: on a terminal as one line that changes, elsewhere as a line each time.
/// Failure to write is ignored.
pub(crate) struct Progress<W: Write = Stderr> {
    to: W,
    is_terminal: bool,
    /// Whether the cursor is at the end of a line that may still change.
    is_open: bool,
}

impl Progress {
    /// Prints to stderr.
    pub(crate) fn on_stderr() -> Self {
        let stderr = io::stderr();
        Self {
            is_terminal: stderr.is_terminal(),
            to: stderr,
            is_open: false,
        }
    }
}

impl<W: Write> Progress<W> {
    /// Prints the current progress.
    pub(crate) fn show(&mut self, message: &str) {
        let message = printable(message);
        // In a single write, as in `note`. The sequence is ECMA-48: go to the first column; erase to the end of the
        // line.
        let line = if self.is_terminal {
            format!("\r{message}\u{1b}[K")
        } else {
            format!("{message}\n")
        };
        let _ = self.to.write_all(line.as_bytes());
        self.is_open = self.is_terminal;
    }
}

impl<W: Write> Drop for Progress<W> {
    /// Ends the line, so that the next output starts on a new one.
    fn drop(&mut self) {
        if self.is_open {
            let _ = self.to.write_all(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(is_terminal: bool, messages: &[&str]) -> String {
        let mut to = Vec::new();
        let mut progress = Progress {
            to: &mut to,
            is_terminal,
            is_open: false,
        };
        for message in messages {
            progress.show(message);
        }
        drop(progress);
        String::from_utf8(to).expect("text")
    }

    #[test]
    fn a_terminal_shows_one_line_that_changes() {
        assert_eq!(
            output(true, &["1 of 10", "2 of 10"]),
            "\r1 of 10\u{1b}[K\r2 of 10\u{1b}[K\n"
        );
        assert_eq!(output(true, &[]), "");
    }

    #[test]
    fn a_file_gets_a_line_each_time() {
        assert_eq!(output(false, &["1 of 10", "2\u{1b}[2J"]), "1 of 10\n2\\u{1b}[2J\n");
    }
}
