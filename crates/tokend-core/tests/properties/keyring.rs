//! The key ring: its file, what it tells of itself, and which of its keys do what.

use proptest::prelude::*;
use tokend_core::{
    credential::{Kid, Kind, Prefix},
    keyring::{Fingerprint, KeyRing, KeyRingFileError},
};

use crate::samples::{OTHER_ROOT, ROOT, Script, kid, mint, prefixes, ring, ring_of, ring_text, token};

const THIRD_ROOT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn fingerprints(ring: &KeyRing) -> Vec<(Kid, Fingerprint)> {
    ring.fingerprints().collect()
}

fn error(text: &str) -> KeyRingFileError {
    KeyRing::from_toml(text).expect_err("no key ring")
}

#[test]
fn known_fingerprint() {
    let [(kid, fingerprint)] = fingerprints(&ring())[..] else { panic!("one key") };
    let known = [0x94, 0x71, 0x10, 0x97, 0x3a, 0x28, 0x7b, 0x5a, 0x1a, 0x91, 0x72, 0x3f, 0xcb, 0xd6, 0x18, 0xca];
    assert_eq!((kid.to_string().as_str(), fingerprint.as_bytes()), ("0", &known));
    assert_eq!(Fingerprint::from_bytes(known), fingerprint);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A ring written and read again is the same ring: every key, which one is active, the prefix.
    #[test]
    fn the_text_form_round_trips(
        prefix in prefixes(),
        roots in prop::collection::btree_map(prop::sample::select(b"09AZaz5".as_slice()), any::<[u8; 32]>(), 1..6),
        active: prop::sample::Index,
    ) {
        let mut keys: Vec<_> =
            roots.iter().map(|(digit, root)| (kid(*digit).to_string(), blake3::Hash::from_bytes(*root).to_hex().to_string())).collect();
        let active = active.index(keys.len());
        keys.swap(0, active);
        let keys: Vec<_> = keys.iter().map(|(kid, root)| (kid.as_str(), root.as_str())).collect();
        let written = ring_of(prefix.as_str(), &keys);
        let text = written.to_toml();
        let read = KeyRing::from_toml(&text).expect("as written");
        prop_assert_eq!(read.prefix(), &prefix);
        prop_assert_eq!(read.active_kid().to_string(), keys[0].0);
        prop_assert_eq!(fingerprints(&read), fingerprints(&written));
        prop_assert_eq!(fingerprints(&read).len(), keys.len());
        prop_assert_eq!(&*read.to_toml(), &*text);
        prop_assert!(read.authenticate(mint(&written, Kind::WorkspaceToken, 1).secret.expose()).is_ok());
        prop_assert!(read.is_intact(&token(), &written.seal(&token())));
    }
}

#[test]
fn a_new_ring_has_one_active_key_from_the_random_source() {
    let ring = KeyRing::generate(Prefix::default(), &mut Script(&[7; 32])).expect("32 bytes are enough");
    assert_eq!(fingerprints(&ring), fingerprints(&ring_of("tkd", &[("0", &"07".repeat(32))])));
    for available in 0..32 {
        assert!(KeyRing::generate(Prefix::default(), &mut Script(&[7; 32][..available])).is_err(), "{available}");
    }
}

#[test]
fn every_fault_of_the_file_has_its_error() {
    let good = ring_text("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    assert!(KeyRing::from_toml(&good).is_ok());
    let with = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        error(&good.replacen(old, new, 1))
    };

    for text in ["", "not TOML", "version = 1\nprefix = \"tkd\"\n", "\0", "version = -1", &ROOT.repeat(100)] {
        assert_eq!(error(text), KeyRingFileError::NotAKeyRing, "{text:?}");
    }
    assert_eq!(with("version", "salt = 1\nversion"), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("active = true", "active = \"yes\""), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("active = true", "retired = true"), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("kid = \"0\"\n", ""), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("root", "rood"), KeyRingFileError::NotAKeyRing);

    assert_eq!(with("version = 1", "version = 2"), KeyRingFileError::Version(2));
    // What a later version added does not hide that it is later.
    assert_eq!(with("version = 1", "version = 2\nsealed_by = \"kms\""), KeyRingFileError::Version(2));

    for prefix in ["", "tk", "TKD", "tkd_", "thirteenchars"] {
        assert_eq!(with("\"tkd\"", &format!("\"{prefix}\"")), KeyRingFileError::Prefix, "{prefix}");
    }
    for bad in ["", "00", "_", "\u{e4}"] {
        assert_eq!(with("kid = \"0\"", &format!("kid = \"{bad}\"")), KeyRingFileError::Kid(1), "{bad}");
        assert_eq!(with("kid = \"1\"", &format!("kid = \"{bad}\"")), KeyRingFileError::Kid(2), "{bad}");
    }
    assert_eq!(with("kid = \"1\"", "kid = \"0\""), KeyRingFileError::Kid(2));

    for bad in ["", "00", &ROOT[1..], &format!("{ROOT}0"), &ROOT.replacen('0', "g", 1), &ROOT.replacen("00", "\u{e4}", 1)] {
        assert_eq!(with(ROOT, bad), KeyRingFileError::Root(kid(b'0')), "{bad}");
        assert_eq!(with(OTHER_ROOT, bad), KeyRingFileError::Root(kid(b'1')), "{bad}");
    }

    assert_eq!(with("active = true", "active = false"), KeyRingFileError::Active(0));
    assert_eq!(with("active = true", ""), KeyRingFileError::Active(0));
    assert_eq!(with("active = false", "active = true"), KeyRingFileError::Active(2));
    assert_eq!(error("version = 1\nprefix = \"tkd\"\nkeys = []\n"), KeyRingFileError::Active(0));
}

/// Roots in every wrong place: nothing that is printed may tell one.
#[test]
fn errors_and_debug_never_tell_a_root() {
    let good = ring_text("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    let faulty = [
        good.replacen("kid = \"0\"", &format!("kid = \"{ROOT}\""), 1),
        good.replacen("kid = \"0\"", &format!("kid = \"{ROOT}\""), 1).replacen("kid = \"1\"", &format!("kid = \"{ROOT}\""), 1),
        good.replacen("\"tkd\"", &format!("\"{ROOT}\""), 1),
        good.replacen(ROOT, &format!("{ROOT}00"), 1),
        good.replacen(&format!("\"{ROOT}\""), ROOT, 1),
        good.replacen("root = ", &format!("{ROOT} = "), 1),
        good.replacen("active = true", &format!("active = \"{ROOT}\""), 1),
        good.replacen("kid = \"1\"", "kid = \"0\"", 1),
        good.replacen("active = true", "active = false", 1),
    ];
    let errors = faulty.iter().map(|text| error(text)).map(|error| format!("{error} {error:?}"));
    let ring = KeyRing::from_toml(&good).expect("well-formed");
    for shown in errors.chain([format!("{ring:?}"), format!("{ring:#?}")]) {
        for root in [ROOT, OTHER_ROOT] {
            assert!(!shown.to_lowercase().contains(&root[..8]), "{shown}");
        }
        // Nor as a byte array shows it.
        assert!(!shown.contains("0, 1, 2, 3") && !shown.contains("255, 238, 221"), "{shown}");
    }
}

#[test]
fn fingerprints_tell_roots_and_prefixes_apart() {
    let rings = [
        ring(),
        ring_of("tkd", &[("0", OTHER_ROOT)]),
        ring_of("tke", &[("0", ROOT)]),
        ring_of("tkdd", &[("0", ROOT)]),
        // One bit of the root.
        ring_of("tkd", &[("0", &ROOT.replacen("1f", "1e", 1))]),
    ];
    for (index, ring) in rings.iter().enumerate() {
        for other in &rings[index + 1..] {
            assert_ne!(fingerprints(ring), fingerprints(other));
        }
    }
    assert_eq!(fingerprints(&rings[0]), fingerprints(&ring()));
    // And they are not the root in another coat.
    for (_, fingerprint) in rings[0].fingerprints() {
        assert!(!ROOT.contains(&blake3::Hash::from_slice(&fingerprint.as_bytes().repeat(2)).expect("32 bytes").to_hex()[..8]));
    }
}

#[test]
fn keys_that_are_not_active_verify_and_do_not_sign() {
    let keys = [("0", ROOT), ("1", OTHER_ROOT), ("Z", THIRD_ROOT)];
    let ring = ring_of("tkd", &[keys[1], keys[0], keys[2]]);
    assert_eq!(ring.active_kid(), kid(b'1'));
    let row = token();
    for (digit, root) in keys {
        let alone = ring_of("tkd", &[(digit, root)]);
        for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
            let theirs = mint(&alone, kind, 3);
            assert!(ring.authenticate(theirs.secret.expose()).is_ok(), "{digit}");
            assert!(ring.is_intact(&row, &alone.seal(&row)), "{digit}");

            let ours = mint(&ring, kind, 3);
            assert_eq!(ours.digest.kid(), kid(b'1'));
            assert_eq!(alone.authenticate(ours.secret.expose()).is_ok(), digit == "1");
            assert_eq!(alone.is_intact(&row, &ring.seal(&row)), digit == "1");
        }
    }
    // A key that left the ring recognizes nothing any more.
    let retired = ring_of("tkd", &[keys[1], keys[2]]);
    let old = ring_of("tkd", &[keys[0]]);
    assert!(retired.authenticate(mint(&old, Kind::WorkspaceToken, 3).secret.expose()).is_err());
    assert!(!retired.is_intact(&row, &old.seal(&row)));
}

/// A token of a key that verifies goes all the way to its row, not only past the tag.
#[test]
fn a_token_of_an_inactive_key_is_recognized() {
    let minted = mint(&ring(), Kind::WorkspaceToken, 3);
    let ring = ring_of("tkd", &[("1", OTHER_ROOT), ("0", ROOT)]);
    let mut row = token();
    (row.name.id, row.digest) = (minted.id, minted.digest);
    let presented = ring.authenticate(minted.secret.expose()).expect("a key of the ring");
    assert!(ring.recognize(&presented, row).is_ok());
}
