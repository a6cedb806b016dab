//! The lines of an export as one chain: whether none is missing, and what of it a database does not have yet.
//!
//! Positions count up by one from line to line, across epochs. A database holds the beginning of a chain; the export continues it if it has
//! the database's last line, word for word. Then everything behind that line is what the database does not know.

use crate::ending::{Ending, Place};

/// A line that was read, whole and unaltered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// What ended.
    pub ending: Ending,
    /// The line itself, without its end.
    pub line: String,
}

/// The lines of one export, in order.
#[derive(Clone, Debug, Default)]
pub struct EndingChain(Vec<Entry>);

/// Lines are missing before the one that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lines are missing before it")]
pub struct Gap;

/// Why an export does not continue what a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotContinued {
    /// It has no lines, and says nothing.
    #[error("it is empty")]
    Empty,
    /// It begins behind the database's last line.
    #[error("lines are missing before line 1")]
    Gap,
    /// It ends before the database's last line, or is of another history.
    #[error(
        "it does not have the last line of the database, at position {0}: it is older than the backup, or not of this database"
    )]
    LacksLast(u64),
}

impl EndingChain {
    /// Adds the next line.
    ///
    /// # Errors
    /// [`Gap`] if it does not follow the last one. Restores of older versions began a new epoch at a position that was used before.
    pub fn push(&mut self, entry: Entry) -> Result<(), Gap> {
        if let Some(Entry { place: last, .. }) = self.0.last() {
            let next = last.position + 1;
            let follows = entry.place.position == next || entry.place.epoch != last.epoch && entry.place.position < next;
            if !follows {
                return Err(Gap);
            }
        }
        self.0.push(entry);
        Ok(())
    }

    /// What ended, in order.
    pub fn endings(&self) -> impl DoubleEndedIterator<Item = &Ending> {
        self.0.iter().map(|entry| &entry.ending)
    }

    /// The lines that a database lacks whose last line is `last`, none if it has none: those behind it, as far as no later one has taken
    /// their position.
    ///
    /// # Errors
    /// [`NotContinued`].
    pub fn behind(&self, last: Option<(Place, &str)>) -> Result<Vec<&Entry>, NotContinued> {
        let first = self.0.first().ok_or(NotContinued::Empty)?;
        let known = match last {
            None if first.place.position == 1 => 0,
            None => return Err(NotContinued::Gap),
            Some((place, line)) => match self.0.iter().position(|entry| entry.place == place && entry.line == line) {
                Some(index) => index + 1,
                None if first.place.position > place.position => return Err(NotContinued::Gap),
                None => return Err(NotContinued::LacksLast(place.position)),
            },
        };
        let mut lacking: Vec<&Entry> = Vec::new();
        for entry in &self.0[known..] {
            while lacking.pop_if(|before| before.place.position >= entry.place.position).is_some() {}
            lacking.push(entry);
        }
        Ok(lacking)
    }
}
