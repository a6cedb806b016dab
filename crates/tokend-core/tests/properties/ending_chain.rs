//! An export as one chain: what is missing in it is missed, and what a database lacks of it is found.

use tokend_core::{
    ending::{Ending, Place},
    ending_chain::{EndingChain, Entry, Gap, NotContinued},
};

use crate::samples::{at, token};

fn entry((epoch, position): (u64, u64)) -> Entry {
    let ending = Ending::TokenRotated { name: token().name, end: at(1) };
    Entry { place: Place { epoch, position }, ending, line: format!("{epoch}:{position}") }
}

fn chain(places: &[(u64, u64)]) -> Result<EndingChain, Gap> {
    let mut chain = EndingChain::default();
    for place in places {
        chain.push(entry(*place))?;
    }
    Ok(chain)
}

fn behind(places: &[(u64, u64)], last: Option<(u64, u64)>) -> Result<Vec<(u64, u64)>, NotContinued> {
    let chain = chain(places).expect("none is missing");
    let last = last.map(entry);
    let lacking = chain.behind(last.as_ref().map(|last| (last.place, last.line.as_str())))?;
    Ok(lacking.into_iter().map(|entry| (entry.place.epoch, entry.place.position)).collect())
}

#[test]
fn a_missing_line_is_missed() {
    for whole in [&[][..], &[(7, 1)], &[(7, 3), (7, 4)], &[(7, 1), (8, 2), (6, 3)], &[(7, 1), (7, 2), (8, 2), (8, 3)]] {
        assert!(chain(whole).is_ok(), "{whole:?}");
    }
    for cut in [&[(7, 1), (7, 3)][..], &[(7, 1), (8, 3)], &[(7, 1), (7, 1)], &[(7, 2), (7, 1)], &[(7, 1), (7, 2), (8, 2), (8, 4)]] {
        assert_eq!(chain(cut).expect_err("one is missing"), Gap, "{cut:?}");
    }
}

#[test]
fn what_a_database_lacks_stands_behind_its_last_line() {
    let lines = [(7, 1), (7, 2), (7, 3), (8, 4)];
    assert_eq!(behind(&lines, None), Ok(lines.to_vec()));
    assert_eq!(behind(&lines, Some((7, 2))), Ok(vec![(7, 3), (8, 4)]));
    assert_eq!(behind(&lines, Some((8, 4))), Ok(vec![]));
}

#[test]
fn what_does_not_continue_the_database_is_refused() {
    let lines = [(7, 2), (7, 3), (8, 4)];
    assert_eq!(behind(&[], None), Err(NotContinued::Empty));
    assert_eq!(behind(&[], Some((7, 1))), Err(NotContinued::Empty));
    assert_eq!(behind(&lines, None), Err(NotContinued::Gap));
    assert_eq!(behind(&lines, Some((7, 1))), Err(NotContinued::Gap), "the line itself has to be there");
    for last in [(7, 4), (8, 5), (9, 3), (6, 2)] {
        assert_eq!(behind(&lines, Some(last)), Err(NotContinued::LacksLast(last.1)), "{last:?}");
    }
    // The same place, and another line: the backup was served, and went on by itself.
    let other = behind_line(&lines, Place { epoch: 7, position: 3 }, "7:3, and what else");
    assert_eq!(other, Err(NotContinued::LacksLast(3)));
}

fn behind_line(places: &[(u64, u64)], place: Place, line: &str) -> Result<usize, NotContinued> {
    chain(places).expect("none is missing").behind(Some((place, line))).map(|lacking| lacking.len())
}

/// Restores of older versions began at a position that was used before: the later line is the database's.
#[test]
fn a_position_that_was_used_again_is_the_later_lines() {
    let lines = [(7, 1), (7, 2), (7, 3), (7, 4), (8, 3), (9, 3), (9, 4)];
    assert_eq!(behind(&lines, None), Ok(vec![(7, 1), (7, 2), (9, 3), (9, 4)]));
    assert_eq!(behind(&lines, Some((7, 2))), Ok(vec![(9, 3), (9, 4)]));
    assert_eq!(behind(&lines, Some((7, 4))), Ok(vec![(9, 3), (9, 4)]));
    assert_eq!(behind(&lines, Some((9, 3))), Ok(vec![(9, 4)]));
}
