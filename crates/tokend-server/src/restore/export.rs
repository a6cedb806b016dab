//! Reading an export of endings: all of it, or nothing.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use tokend_core::{
    ending_chain::{EndingChain, Entry, Gap},
    keyring::KeyRing,
};

use super::RestoreError;

/// Reads every line of the export. All of them are ours, and none is missing between the first and the last.
pub(super) fn read(keys: &KeyRing, path: &Path) -> Result<EndingChain, RestoreError> {
    let io = |source| RestoreError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut chain = EndingChain::default();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        file.read_line(&mut line).map_err(io)?;
        // A last line without its end was cut short by a crash, and is whole in the database that wrote it.
        let Some(whole) = line.strip_suffix('\n') else { break };
        let (place, ending) = keys.read_ending(whole).map_err(|problem| RestoreError::Line { number, problem })?;
        let entry = Entry { place, ending, line: whole.to_owned() };
        chain.push(entry).map_err(|Gap| RestoreError::Gap { number })?;
    }
    Ok(chain)
}
