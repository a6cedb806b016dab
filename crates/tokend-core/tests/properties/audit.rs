//! The audit log: nothing in a chain can be changed, moved, taken out or put in, and no end can be cut off.

use proptest::prelude::*;
use tokend_core::{
    audit::{Actor, Break, Chain, ChainHash, Checkpoint, Event, EventType, Head, Origin, Outcome, Record, RowAfter, Walk},
    keyring::KeyRing,
    time::Timestamp,
};

use crate::samples::{OTHER_ROOT, at, caller_key, ring, ring_of, token, workspace_id};

fn event(chain: &Chain, number: u64) -> Event {
    Event {
        chain: chain.clone(),
        kind: EventType::TokenCreated,
        origin: Origin {
            caller: Some("ci".parse().expect("an id")),
            actor: Some("ada".parse::<Actor>().expect("an actor")),
            address: Some([192, 0, 2, 7].into()),
        },
        resource: format!("workspaces/acme/tokens/{number}"),
        outcome: Outcome::Done,
        reason: "why".to_owned(),
        detail: "what".to_owned(),
        row: RowAfter::Is(ring().audit_digest(&token())),
    }
}

/// A chain of that many records.
fn chain(ring: &KeyRing, of: &Chain, records: u64) -> (Head, Vec<Record>) {
    let mut head = Head::new(of.clone(), at(1), ring);
    let mut stored = Vec::new();
    for number in 1..=records {
        let record = Record::append(&head, event(of, number), at(number.cast_signed()), ring);
        head = head.after(&record);
        stored.push(record);
    }
    (head, stored)
}

fn acme() -> Chain {
    Chain::Workspace(workspace_id("acme"))
}

fn walked(head: &Head, records: &[Record]) -> Result<(), Break> {
    let ring = ring();
    let mut walk = Walk::begin(&ring, head);
    records.iter().try_for_each(|record| walk.step(record))?;
    walk.finish(head)
}

type Change = (&'static str, fn(&mut Record));

const CHANGES: [Change; 15] = [
    ("chain", |record| record.place.chain = "globex".to_owned()),
    ("sequence", |record| record.place.sequence += 1),
    ("time", |record| record.time_micros += 1),
    ("kind", |record| record.kind = "token.revoked".to_owned()),
    ("caller", |record| record.caller.push('x')),
    ("actor", |record| record.actor.clear()),
    ("address", |record| record.address = "192.0.2.8".to_owned()),
    ("resource", |record| record.resource.push('x')),
    ("outcome", |record| record.outcome = "REFUSED".to_owned()),
    ("reason", |record| record.reason.push(' ')),
    ("detail", |record| record.detail.clear()),
    ("a letter from one column to the next", |record| {
        let letter = record.reason.pop().expect("a letter");
        record.detail.insert(0, letter);
    }),
    ("row", |record| record.row = vec![0]),
    ("previous hash", |record| record.previous_hash = ChainHash::from_bytes([7; 32])),
    ("hash", |record| record.hash = ChainHash::from_bytes([7; 32])),
];

#[test]
fn a_whole_chain_is_whole() {
    for records in [0, 1, 2, 10] {
        let (head, stored) = chain(&ring(), &acme(), records);
        assert_eq!(walked(&head, &stored), Ok(()));
    }
}

#[test]
fn every_column_of_a_record_is_covered() {
    let (head, stored) = chain(&ring(), &acme(), 3);
    for (what, change) in CHANGES {
        for index in 0..stored.len() {
            let mut changed = stored.clone();
            change(&mut changed[index]);
            assert!(walked(&head, &changed).is_err(), "{what} of record {index}");
            assert!(!changed[index].is_intact(&ring()), "{what}");
        }
    }
}

#[test]
fn every_column_of_a_head_and_of_a_checkpoint_is_covered() {
    let ring = ring();
    let (head, _) = chain(&ring, &acme(), 3);
    let mac = head.mac(&ring);
    let changes: [fn(&mut Head); 7] = [
        |head| head.chain = Chain::Installation,
        |head| head.sequence -= 1,
        |head| head.hash = ChainHash::NOTHING,
        |head| head.base_sequence += 1,
        |head| head.base_hash = ChainHash::from_bytes([1; 32]),
        |head| head.begin_time = Timestamp::UNIX_EPOCH,
        |head| head.chains += 1,
    ];
    for change in changes {
        let mut changed = head.clone();
        change(&mut changed);
        assert_ne!(changed.mac(&ring), mac, "{changed:?}");
    }
    let checkpoint = Checkpoint::of(&head, at(9), &ring);
    let changes: [fn(&mut Checkpoint); 4] = [
        |checkpoint| checkpoint.chain = Chain::Installation,
        |checkpoint| checkpoint.sequence -= 1,
        |checkpoint| checkpoint.hash = ChainHash::NOTHING,
        |checkpoint| checkpoint.time = Timestamp::UNIX_EPOCH,
    ];
    for change in changes {
        let mut changed = checkpoint.clone();
        change(&mut changed);
        assert!(checkpoint.is_intact(&ring) && !changed.is_intact(&ring), "{changed:?}");
    }
}

#[test]
fn a_checkpoint_is_a_line_of_text() {
    let ring = ring();
    for of in [Chain::Installation, acme()] {
        let (head, _) = chain(&ring, &of, 3);
        let checkpoint = Checkpoint::of(&head, at(1_764_115_200_000_000), &ring);
        let line = checkpoint.to_string();
        assert!(line.starts_with(&format!("tokend-checkpoint v1 chain={of} sequence=3 time=1764115200000000 hash=")), "{line}");
        assert_eq!(line.parse(), Ok(checkpoint.clone()));
        assert_eq!(format!("{line}\n").parse(), Ok(checkpoint));
        for cut in 0..line.len() {
            assert!(line[..cut].parse::<Checkpoint>().is_err(), "{}", &line[..cut]);
        }
        assert!(format!("{line} more").parse::<Checkpoint>().is_err());
    }
}

#[test]
fn a_chain_goes_on_from_where_it_was_cut() {
    let ring = ring();
    let (head, stored) = chain(&ring, &acme(), 5);
    let (early, _) = chain(&ring, &acme(), 3);
    let checkpoint = Checkpoint::of(&early, at(9), &ring);
    let cut = head.clone().cut_at(&checkpoint, &ring).expect("it lies within");
    assert_eq!(walked(&cut, &stored[3..]), Ok(()));
    assert_eq!(walked(&cut, &stored[4..]), Err(Break::Missing { first: 4, last: 4 }));
    // Not before what is cut already, not behind the end, not another chain's.
    assert_eq!(cut.clone().cut_at(&checkpoint, &ring), None);
    assert_eq!(early.cut_at(&Checkpoint::of(&head, at(9), &ring), &ring), None);
    let other = Checkpoint { chain: Chain::Installation, ..checkpoint };
    assert_eq!(head.cut_at(&other, &ring), None);
}

#[test]
fn another_ring_believes_nothing() {
    let (head, stored) = chain(&ring(), &acme(), 2);
    let other = ring_of("tkd", &[("0", OTHER_ROOT)]);
    assert_ne!(head.mac(&other), head.mac(&ring()));
    assert!(!stored[0].is_intact(&other));
    assert!(!Checkpoint::of(&head, at(1), &ring()).is_intact(&other));
}

#[test]
fn a_row_is_told_from_another() {
    let (ring, row) = (ring(), token());
    let digest = ring.audit_digest(&row);
    assert!(ring.is_as_audited(&row, &digest));
    let revoked = tokend_core::token::Token { revocation: None, ..row.clone() };
    assert_eq!(ring.is_as_audited(&revoked, &digest), row.revocation.is_none());
    assert!(!ring.is_as_audited(&caller_key(), &digest));
    assert!(!ring_of("tkd", &[("0", OTHER_ROOT)]).is_as_audited(&row, &digest));
    // The digest is not the row's MAC under another name.
    assert_ne!(digest.to_bytes(), ring.seal(&row).to_bytes());
}

proptest! {
    /// Whichever records are kept, in whichever order: only all of them in their order are the chain.
    #[test]
    fn only_the_records_in_their_order_are_the_chain(order in prop::collection::vec(0_usize..6, 0..8)) {
        let (head, stored) = chain(&ring(), &acme(), 6);
        let arranged: Vec<_> = order.iter().map(|index| stored[*index].clone()).collect();
        prop_assert_eq!(walked(&head, &arranged).is_ok(), order == [0, 1, 2, 3, 4, 5]);
    }
}
