//! The lines of an exported revocations file as a chain: whether one is missing, and which of them a database lacks.
//!
//! Positions grow by one from line to line, across epochs. A database holds the beginning of a chain. The export
//! continues it if it contains the database's last line, byte for byte. The database lacks every line after that.

use crate::revocation::{Place, RevocationRecord};

/// A line that was read and whose MAC is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationLine {
    /// The position of the line.
    pub place: Place,
    /// The record in the line.
    pub record: RevocationRecord,
    /// The line itself, without the line break.
    pub text: String,
}

/// The lines of one export, in order.
#[derive(Clone, Debug, Default)]
pub struct RevocationChain(Vec<RevocationLine>);

/// Lines are missing before the one that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lines are missing before it")]
pub struct Gap;

/// Why an export does not continue the lines of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotContinued {
    /// The export has no lines.
    #[error("it is empty")]
    Empty,
    /// The export begins after the database's last line, with a gap between.
    #[error("lines are missing before line 1")]
    Gap,
    /// The export ends before the database's last line, or comes from another database.
    #[error(
        "it does not have the last line of the database, at position {0}: it is older than the backup, or not of this \
         database"
    )]
    LastMissing(u64),
}

impl RevocationChain {
    /// Adds the next line.
    ///
    /// # Errors
    /// [`Gap`] if the line does not follow the last one. Restores by older versions began a new epoch at a position
    /// that was in use before; such a line is accepted.
    pub fn push(&mut self, line: RevocationLine) -> Result<(), Gap> {
        if let Some(RevocationLine { place: last, .. }) = self.0.last() {
            let next = last.position + 1;
            let follows = line.place.position == next || line.place.epoch != last.epoch && line.place.position < next;
            if !follows {
                return Err(Gap);
            }
        }
        self.0.push(line);
        Ok(())
    }

    /// Returns the records, in order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &RevocationRecord> {
        self.0.iter().map(|line| &line.record)
    }

    /// Returns the lines that a database lacks whose last line is `last`; `None` for a database without lines. A line
    /// whose position a later line takes again is left out.
    ///
    /// # Errors
    /// [`NotContinued`].
    pub fn lines_after(&self, last: Option<(Place, &str)>) -> Result<Vec<&RevocationLine>, NotContinued> {
        let first = self.0.first().ok_or(NotContinued::Empty)?;
        let known = match last {
            None if first.place.position == 1 => 0,
            None => return Err(NotContinued::Gap),
            Some((place, text)) => match self.0.iter().position(|line| line.place == place && line.text == text) {
                Some(index) => index + 1,
                None if first.place.position > place.position => return Err(NotContinued::Gap),
                None => return Err(NotContinued::LastMissing(place.position)),
            },
        };
        let mut missing: Vec<&RevocationLine> = Vec::new();
        for line in &self.0[known..] {
            while missing
                .pop_if(|before| before.place.position >= line.place.position)
                .is_some()
            {}
            missing.push(line);
        }
        Ok(missing)
    }
}
