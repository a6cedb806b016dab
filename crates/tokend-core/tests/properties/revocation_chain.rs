//! An export as a chain: missing lines are detected, and the lines that a database lacks are found.

use tokend_core::revocation::{Gap, NotContinued, Place, RevocationChain, RevocationLine, RevocationRecord};

use crate::samples::{at, token};

fn entry((epoch, position): (u64, u64)) -> RevocationLine {
    let ending = RevocationRecord::TokenRotated {
        name: token().name,
        end: at(1),
    };
    RevocationLine {
        place: Place { epoch, position },
        record: ending,
        text: format!("{epoch}:{position}"),
    }
}

fn chain(places: &[(u64, u64)]) -> Result<RevocationChain, Gap> {
    let mut chain = RevocationChain::default();
    for place in places {
        chain.push(entry(*place))?;
    }
    Ok(chain)
}

fn behind(places: &[(u64, u64)], last: Option<(u64, u64)>) -> Result<Vec<(u64, u64)>, NotContinued> {
    let chain = chain(places).expect("none is missing");
    let last = last.map(entry);
    let lacking = chain.lines_after(last.as_ref().map(|last| (last.place, last.text.as_str())))?;
    Ok(lacking
        .into_iter()
        .map(|entry| (entry.place.epoch, entry.place.position))
        .collect())
}

#[test]
fn a_missing_line_is_detected() {
    for whole in [
        &[][..],
        &[(7, 1)],
        &[(7, 3), (7, 4)],
        &[(7, 1), (8, 2), (6, 3)],
        &[(7, 1), (7, 2), (8, 2), (8, 3)],
    ] {
        assert!(chain(whole).is_ok(), "{whole:?}");
    }
    for cut in [
        &[(7, 1), (7, 3)][..],
        &[(7, 1), (8, 3)],
        &[(7, 1), (7, 1)],
        &[(7, 2), (7, 1)],
        &[(7, 1), (7, 2), (8, 2), (8, 4)],
    ] {
        assert_eq!(chain(cut).expect_err("a line is missing"), Gap, "{cut:?}");
    }
}

#[test]
fn the_missing_lines_follow_the_databases_last_line() {
    let lines = [(7, 1), (7, 2), (7, 3), (8, 4)];
    assert_eq!(behind(&lines, None), Ok(lines.to_vec()));
    assert_eq!(behind(&lines, Some((7, 2))), Ok(vec![(7, 3), (8, 4)]));
    assert_eq!(behind(&lines, Some((8, 4))), Ok(vec![]));
}

#[test]
fn an_export_that_does_not_continue_the_database_is_rejected() {
    let lines = [(7, 2), (7, 3), (8, 4)];
    assert_eq!(behind(&[], None), Err(NotContinued::Empty));
    assert_eq!(behind(&[], Some((7, 1))), Err(NotContinued::Empty));
    assert_eq!(behind(&lines, None), Err(NotContinued::Gap));
    assert_eq!(
        behind(&lines, Some((7, 1))),
        Err(NotContinued::Gap),
        "the export must contain the database's last line"
    );
    for last in [(7, 4), (8, 5), (9, 3), (6, 2)] {
        assert_eq!(
            behind(&lines, Some(last)),
            Err(NotContinued::LastMissing(last.1)),
            "{last:?}"
        );
    }
    // The same position with another line: the backup was served and continued on its own.
    let other = behind_line(&lines, Place { epoch: 7, position: 3 }, "7:3, and what else");
    assert_eq!(other, Err(NotContinued::LastMissing(3)));
}

fn behind_line(places: &[(u64, u64)], place: Place, line: &str) -> Result<usize, NotContinued> {
    chain(places)
        .expect("none is missing")
        .lines_after(Some((place, line)))
        .map(|lacking| lacking.len())
}

/// Restores by older versions began at a position that was in use: the database has the later line.
#[test]
fn a_reused_position_belongs_to_the_later_line() {
    let lines = [(7, 1), (7, 2), (7, 3), (7, 4), (8, 3), (9, 3), (9, 4)];
    assert_eq!(behind(&lines, None), Ok(vec![(7, 1), (7, 2), (9, 3), (9, 4)]));
    assert_eq!(behind(&lines, Some((7, 2))), Ok(vec![(9, 3), (9, 4)]));
    assert_eq!(behind(&lines, Some((7, 4))), Ok(vec![(9, 3), (9, 4)]));
    assert_eq!(behind(&lines, Some((9, 3))), Ok(vec![(9, 4)]));
}
