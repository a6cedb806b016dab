//! The audit log: no record in a chain can be changed, moved, removed or inserted, and the end can't be cut off,
//! without being detected.

use proptest::prelude::*;
use tokend_core::{
    audit::{
        Actor, Chain, ChainError, ChainHash, ChainVerifier, Checkpoint, Event, EventType, Head, Origin, Outcome,
        Record, RowAfter,
    },
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

/// Builds a chain with this number of records.
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

fn walked(head: &Head, records: &[Record]) -> Result<(), ChainError> {
    let ring = ring();
    let mut walk = ChainVerifier::begin(&ring, head);
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
    ("previous hash", |record| {
        record.previous_hash = ChainHash::from_bytes([7; 32])
    }),
    ("hash", |record| record.hash = ChainHash::from_bytes([7; 32])),
];

#[test]
fn a_complete_chain_verifies() {
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
        assert!(
            line.starts_with(&format!(
                "tokend-checkpoint v1 chain={of} sequence=3 time=1764115200000000 hash="
            )),
            "{line}"
        );
        assert_eq!(line.parse(), Ok(checkpoint.clone()));
        assert_eq!(format!("{line}\n").parse(), Ok(checkpoint));
        for cut in 0..line.len() {
            assert!(line[..cut].parse::<Checkpoint>().is_err(), "{}", &line[..cut]);
        }
        assert!(format!("{line} more").parse::<Checkpoint>().is_err());
    }
}

#[test]
fn a_truncated_chain_continues_from_its_checkpoint() {
    let ring = ring();
    let (head, stored) = chain(&ring, &acme(), 5);
    let (early, _) = chain(&ring, &acme(), 3);
    let checkpoint = Checkpoint::of(&early, at(9), &ring);
    let cut = head
        .clone()
        .cut_at(&checkpoint, &ring)
        .expect("the checkpoint is within the chain");
    assert_eq!(walked(&cut, &stored[3..]), Ok(()));
    assert_eq!(
        walked(&cut, &stored[4..]),
        Err(ChainError::Missing { first: 4, last: 4 })
    );
    // The checkpoint must not be before the deleted records, after the end, or of another chain.
    assert_eq!(cut.clone().cut_at(&checkpoint, &ring), None);
    assert_eq!(early.cut_at(&Checkpoint::of(&head, at(9), &ring), &ring), None);
    let other = Checkpoint {
        chain: Chain::Installation,
        ..checkpoint
    };
    assert_eq!(head.cut_at(&other, &ring), None);
}

#[test]
fn another_ring_rejects_everything() {
    let (head, stored) = chain(&ring(), &acme(), 2);
    let other = ring_of("tkd", &[("0", OTHER_ROOT)]);
    assert_ne!(head.mac(&other), head.mac(&ring()));
    assert!(!stored[0].is_intact(&other));
    assert!(!Checkpoint::of(&head, at(1), &ring()).is_intact(&other));
}

#[test]
fn row_digests_differ_between_rows() {
    let (ring, row) = (ring(), token());
    let digest = ring.audit_digest(&row);
    assert!(ring.matches_audit_digest(&row, &digest));
    let revoked = tokend_core::token::Token {
        revocation: None,
        ..row.clone()
    };
    assert_eq!(ring.matches_audit_digest(&revoked, &digest), row.revocation.is_none());
    assert!(!ring.matches_audit_digest(&caller_key(), &digest));
    assert!(!ring_of("tkd", &[("0", OTHER_ROOT)]).matches_audit_digest(&row, &digest));
    // The digest is not the row's MAC under another name.
    assert_ne!(digest.to_bytes(), ring.seal(&row).to_bytes());
}

proptest! {
    /// Of all selections and orders of records, only the complete one in the right order verifies.
    #[test]
    fn only_all_records_in_order_verify(order in prop::collection::vec(0_usize..6, 0..8)) {
        let (head, stored) = chain(&ring(), &acme(), 6);
        let arranged: Vec<_> = order.iter().map(|index| stored[*index].clone()).collect();
        prop_assert_eq!(walked(&head, &arranged).is_ok(), order == [0, 1, 2, 3, 4, 5]);
    }
}
