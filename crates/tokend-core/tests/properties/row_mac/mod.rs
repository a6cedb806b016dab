//! Row MACs: write access to the database is not enough to change anything that a verdict or an authorization depends
//! on.

mod coverage;
mod distinct;
mod known_answers;

use std::collections::HashSet;

use tokend_core::{
    caller::CertificateSan,
    credential::CredentialId,
    policy::Deadlines,
    row_mac::{MacInput, RowMac, Sealed},
    scope::GrantedScopes,
};

use crate::samples::{OTHER_ROOT, ROOT, names, ring, ring_of, token};

fn deadlines(text: &str) -> Deadlines {
    text.parse().expect("well-formed")
}

fn other_id() -> CredentialId {
    CredentialId::from_bytes([0; CredentialId::BYTES])
}

fn grant(version: u32, granted: &[&str], effective: &[&str]) -> GrantedScopes {
    GrantedScopes::from_stored(version, names(granted), names(effective)).expect("well-formed")
}

fn san(name: &str) -> CertificateSan {
    name.parse().expect("well-formed")
}

/// A row of two lists, a text, and a text that may be null.
struct Columns(
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
    Option<&'static str>,
);

impl Sealed for Columns {
    const TABLE: &'static str = "tests";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.texts(self.0.iter().copied());
        input.text(self.1);
        input.texts(self.2.iter().copied());
        input.optional(self.3, MacInput::text);
    }
}

/// Columns and list entries are separated: combinations that would look alike without lengths, counts or null marks
/// have different MACs.
#[test]
fn columns_never_run_together() {
    const LISTS: [&[&str]; 8] = [
        &[],
        &[""],
        &["a"],
        &["a", ""],
        &["", "a"],
        &["a", "a"],
        &["aa"],
        &["", ""],
    ];
    const TEXTS: [&str; 3] = ["", "a", "aa"];
    const NULLABLE: [Option<&str>; 5] = [
        None,
        Some(""),
        Some("a"),
        Some("\0\0\0\0\0\0\0\0"),
        Some("\u{1}\0\0\0\0\0\0\0"),
    ];
    let ring = ring();
    let mut macs = HashSet::new();
    for first in LISTS {
        for text in TEXTS {
            for second in LISTS {
                for nullable in NULLABLE {
                    let mac = ring.seal(&Columns(first, text, second, nullable));
                    assert!(
                        macs.insert(mac.to_bytes()),
                        "{first:?} {text:?} {second:?} {nullable:?}"
                    );
                }
            }
        }
    }
}

/// The same columns in another table or layout.
struct Elsewhere<const OTHER_TABLE: bool, const LAYOUT: u8>;

impl<const OTHER_TABLE: bool, const LAYOUT: u8> Sealed for Elsewhere<OTHER_TABLE, LAYOUT> {
    const TABLE: &'static str = if OTHER_TABLE { "there" } else { "here" };
    const LAYOUT: u8 = LAYOUT;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.text("the same");
    }
}

#[test]
fn the_same_values_of_another_table_or_layout_are_refused() {
    let (ring, row) = (ring(), Elsewhere::<false, 1>);
    let mac = ring.seal(&row);
    assert!(ring.is_intact(&row, &mac));
    assert!(!ring.is_intact(&Elsewhere::<true, 1>, &mac));
    assert!(!ring.is_intact(&row, &ring.seal(&Elsewhere::<false, 2>)));
    // Nor does it help to write the number of the other layout beside the old hash.
    let mut relabelled = mac.to_bytes();
    relabelled[0] = 2;
    let relabelled = RowMac::from_bytes(&relabelled).expect("well-formed");
    assert!(!ring.is_intact(&Elsewhere::<false, 2>, &relabelled));
    assert!(!ring.is_intact(&row, &relabelled));
}

/// A table in its first layout, and after a change that added a column with the default `plain`.
struct Before(&'static str);
struct After(&'static str, &'static str);

impl Sealed for Before {
    const TABLE: &'static str = "tests";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.text(self.0);
    }
}

impl Sealed for After {
    const TABLE: &'static str = "tests";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.text(self.0);
        input.since(2, self.1 == "plain", |input| input.text(self.1));
    }
}

#[test]
fn a_column_that_was_added_leaves_old_rows_valid_and_itself_covered() {
    let ring = ring();
    let old = ring.seal(&Before("a"));
    assert!(ring.is_intact(&After("a", "plain"), &old));
    assert!(!ring.is_intact(&After("b", "plain"), &old));
    // The old MAC does not cover the new column, so it may only hold its default.
    assert!(!ring.is_intact(&After("a", "fancy"), &old));
    let new = ring.seal(&After("a", "fancy"));
    assert!(ring.is_intact(&After("a", "fancy"), &new));
    for other in [After("a", "plain"), After("b", "fancy")] {
        assert!(!ring.is_intact(&other, &new));
    }
    // A downgrade fails: to a layout below the first, to the old layout for a new row, and on a server that knows only
    // the old layout.
    for layout in [0, 1] {
        let mut relabelled = new.to_bytes();
        relabelled[0] = layout;
        assert!(
            !ring.is_intact(
                &After("a", "fancy"),
                &RowMac::from_bytes(&relabelled).expect("well-formed")
            ),
            "{layout}"
        );
    }
    assert!(!ring.is_intact(&Before("a"), &ring.seal(&After("a", "plain"))));
}

#[test]
fn bytes_round_trip_and_every_bit_counts() {
    let ring = ring_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    let row = token();
    let mac = ring.seal(&row);
    let bytes = mac.to_bytes();
    assert_eq!(RowMac::from_bytes(&bytes), Some(mac));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes;
        changed[bit / 8] ^= 1 << (bit % 8);
        let read = RowMac::from_bytes(&changed);
        assert!(
            read.is_none_or(|read| read.to_bytes() == changed && !ring.is_intact(&row, &read)),
            "bit {bit}"
        );
    }
    // Another key of the ring did not seal it.
    let mut other_key = bytes;
    other_key[1] = b'1';
    assert!(!ring.is_intact(&row, &RowMac::from_bytes(&other_key).expect("well-formed")));
}

#[test]
fn invalid_bytes_are_not_a_mac() {
    let bytes = ring().seal(&token()).to_bytes();
    for end in 0..bytes.len() {
        assert_eq!(RowMac::from_bytes(&bytes[..end]), None, "{end}");
    }
    assert_eq!(RowMac::from_bytes(&[&bytes[..], &[0]].concat()), None);
    let mut no_key = bytes;
    no_key[1] = 0;
    assert_eq!(RowMac::from_bytes(&no_key), None);
}

#[test]
fn another_ring_rejects_every_row() {
    let mac = ring().seal(&token());
    assert!(!ring_of("tkd", &[("0", OTHER_ROOT)]).is_intact(&token(), &mac));
    assert!(!ring_of("tkd", &[("1", ROOT)]).is_intact(&token(), &mac));
}
