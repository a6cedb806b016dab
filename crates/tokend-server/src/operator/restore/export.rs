//! Reads an export of revocations, completely or not at all.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use tokend_core::{
    keyring::KeyRing,
    revocation::{Gap, RevocationChain, RevocationLine},
};

use super::RestoreError;

/// Reads every line of the export. Fails if tokend did not write one of them, or if one is missing in between.
pub(super) fn read(keys: &KeyRing, path: &Path) -> Result<RevocationChain, RestoreError> {
    let io = |source| RestoreError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut chain = RevocationChain::default();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        file.read_line(&mut line).map_err(io)?;
        // A crash cut the last line short. It is complete in the database that wrote it.
        let Some(whole) = line.strip_suffix('\n') else { break };
        let (place, ending) = keys
            .read_revocation(whole)
            .map_err(|problem| RestoreError::Line { number, problem })?;
        let entry = RevocationLine {
            place,
            record: ending,
            text: whole.to_owned(),
        };
        chain.push(entry).map_err(|Gap| RestoreError::Gap { number })?;
    }
    Ok(chain)
}
