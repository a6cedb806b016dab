//! Moves the clock of the program under test: a file says how far it runs ahead of the real one.

use std::{env, fs, path::PathBuf, time::Duration};

use tokend_core::time::Clock;

/// The variable that names the control file, which holds microseconds in decimal: negative for a clock that is behind.
pub const VARIABLE: &str = "TOKEND_TEST_CLOCK_FILE";

/// The clock of the program under test: the real one, moved by what the control file says at that moment, if there is
/// one.
#[must_use]
pub fn from_environment() -> Clock {
    match env::var_os(VARIABLE) {
        None => Clock::system(),
        Some(file) => {
            let file = PathBuf::from(file);
            Clock::with_offset(move || {
                let text = fs::read_to_string(&file).expect("the clock's control file can be read");
                text.trim()
                    .parse()
                    .unwrap_or_else(|_| panic!("the clock's control file holds no microseconds, but {text:?}"))
            })
        }
    }
}

/// The control file of one installation.
#[derive(Debug)]
pub struct ControlFile {
    path: PathBuf,
}

impl ControlFile {
    /// Creates a file for a clock that shows the real time.
    pub(crate) fn new(path: PathBuf) -> Self {
        let file = Self { path };
        file.write(0);
        file
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Sets the clock `span` ahead of the real one.
    ///
    /// # Panics
    /// If the file can't be written, or for a span of many thousand years.
    pub fn set_ahead(&self, span: Duration) {
        self.write(i64::try_from(span.as_micros()).expect("a span that a clock can be ahead"));
    }

    /// Sets the clock to the real time.
    ///
    /// # Panics
    /// If the file can't be written.
    pub fn set_right(&self) {
        self.write(0);
    }

    /// Makes the program panic when it reads the clock. The message quotes `text`.
    ///
    /// # Panics
    /// If the file can't be written.
    pub fn panic_quoting(&self, text: &str) {
        self.replace(text);
    }

    fn write(&self, micros: i64) {
        self.replace(&micros.to_string());
    }

    /// Replaces the file at once: the program may read it at any moment and must not see half a number.
    fn replace(&self, text: &str) {
        let next = self.path.with_extension("next");
        fs::write(&next, text).expect("the control file can be written");
        fs::rename(&next, &self.path).expect("the control file can be replaced");
    }
}
