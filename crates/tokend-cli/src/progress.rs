use std::io::{self, IsTerminal, Stderr, Write};

use crate::terminal::printable;

/// How far a long job has got: on a terminal one line that changes, elsewhere a line each time. If nobody listens there, that is no
/// reason to fail.
pub(crate) struct Progress<W: Write = Stderr> {
    to: W,
    is_terminal: bool,
    /// Whether the cursor stands behind a line that may still change.
    is_open: bool,
}

impl Progress {
    /// On stderr.
    pub(crate) fn on_stderr() -> Self {
        let stderr = io::stderr();
        Self { is_terminal: stderr.is_terminal(), to: stderr, is_open: false }
    }
}

impl<W: Write> Progress<W> {
    /// Tells how far it is now.
    pub(crate) fn tell(&mut self, sentence: &str) {
        let sentence = printable(sentence);
        // In one piece, as a note is. ECMA-48: back to the first column, and erase up to the end of the line.
        let line = if self.is_terminal { format!("\r{sentence}\u{1b}[K") } else { format!("{sentence}\n") };
        let _ = self.to.write_all(line.as_bytes());
        self.is_open = self.is_terminal;
    }
}

impl<W: Write> Drop for Progress<W> {
    /// What comes next stands on a line of its own.
    fn drop(&mut self) {
        if self.is_open {
            let _ = self.to.write_all(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_terminal: bool, sentences: &[&str]) -> String {
        let mut to = Vec::new();
        let mut progress = Progress { to: &mut to, is_terminal, is_open: false };
        for sentence in sentences {
            progress.tell(sentence);
        }
        drop(progress);
        String::from_utf8(to).expect("text")
    }

    #[test]
    fn a_terminal_shows_one_line_that_changes() {
        assert_eq!(told(true, &["1 of 10", "2 of 10"]), "\r1 of 10\u{1b}[K\r2 of 10\u{1b}[K\n");
        assert_eq!(told(true, &[]), "");
    }

    #[test]
    fn a_file_gets_a_line_each_time() {
        assert_eq!(told(false, &["1 of 10", "2\u{1b}[2J"]), "1 of 10\n2\\u{1b}[2J\n");
    }
}
