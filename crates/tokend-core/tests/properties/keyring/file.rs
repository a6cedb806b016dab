//! The file of the key ring, and fingerprints.

use proptest::prelude::*;
use tokend_core::{
    credential::{Kid, Kind, Prefix},
    keyring::{Fingerprint, KeyRingFileError, RootKeys},
};

use super::{THIRD_ROOT, error, fingerprints, roots};
use crate::samples::{OTHER_ROOT, ROOT, Script, kid, mint, prefixes, ring_text, roots_of, token};

#[test]
fn known_fingerprint() {
    let [(kid, fingerprint)] = fingerprints(&roots())[..] else {
        panic!("one key")
    };
    let known = [
        0x94, 0x71, 0x10, 0x97, 0x3a, 0x28, 0x7b, 0x5a, 0x1a, 0x91, 0x72, 0x3f, 0xcb, 0xd6, 0x18, 0xca,
    ];
    assert_eq!((kid.to_string().as_str(), fingerprint.as_bytes()), ("0", &known));
    assert_eq!(Fingerprint::from_bytes(known), fingerprint);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A ring that is written and read again is the same: every key, which of them are retired, and the prefix.
    #[test]
    fn the_text_form_round_trips(
        prefix in prefixes(),
        roots in prop::collection::btree_map(prop::sample::select(b"09AZaz5".as_slice()), any::<[u8; 32]>(), 2..6),
        retired: prop::sample::Index,
    ) {
        let hex = |root: &[u8; 32]| blake3::Hash::from_bytes(*root).to_hex().to_string();
        let keys: Vec<_> = roots.iter().map(|(digit, root)| (kid(*digit).to_string(), hex(root))).collect();
        let keys: Vec<_> = keys.iter().map(|(kid, root)| (kid.as_str(), root.as_str())).collect();
        let retired: Kid = keys[retired.index(keys.len())].0.parse().expect("a kid");
        let written = roots_of(prefix.as_str(), &keys).with_retired(retired);
        let text = written.to_toml();
        let read = RootKeys::from_toml(&text).expect("as written");
        prop_assert_eq!(read.prefix(), &prefix);
        prop_assert_eq!(fingerprints(&read), fingerprints(&written));
        prop_assert_eq!(fingerprints(&read).len(), keys.len());
        prop_assert_eq!(read.initial_keys(), written.initial_keys());
        prop_assert!(fingerprints(&read).iter().all(|(kid, _)| read.is_retired(*kid) == (*kid == retired)));
        prop_assert_eq!(&*read.to_toml(), &*text);
        let [read, written] = [&read, &written].map(|roots| roots.ring(&roots.initial_keys()).expect("its own keys"));
        prop_assert!(read.authenticate(mint(&written, Kind::WorkspaceToken, 1).secret.expose()).is_ok());
        prop_assert!(read.is_intact(&token(), &written.seal(&token())));
    }
}

/// Files from before the database knew which key is active.
#[test]
fn version_1_is_still_read() {
    let v1 = |active: [bool; 3]| {
        let keys = [("0", ROOT), ("1", OTHER_ROOT), ("Z", THIRD_ROOT)]
            .into_iter()
            .zip(active);
        let keys = keys
            .map(|((kid, root), active)| format!("[[keys]]\nkid = \"{kid}\"\nroot = \"{root}\"\nactive = {active}\n"));
        format!("version = 1\nprefix = \"tkd\"\n{}", keys.collect::<String>())
    };
    let read = RootKeys::from_toml(&v1([false, true, false])).expect("well-formed");
    assert_eq!(
        fingerprints(&read),
        fingerprints(&roots_of("tkd", &[("1", OTHER_ROOT), ("0", ROOT), ("Z", THIRD_ROOT)]))
    );
    assert_eq!(
        read.ring(&read.initial_keys()).expect("its own keys").active_kid(),
        kid(b'1')
    );
    assert_eq!(error(&v1([false; 3])), KeyRingFileError::Active(0));
    assert_eq!(error(&v1([true, false, true])), KeyRingFileError::Active(2));
    assert_eq!(
        error(&v1([true, false, false]).replacen("active = true", "retired = true", 1)),
        KeyRingFileError::NotAKeyRing
    );
    assert_eq!(
        error("version = 1\nprefix = \"tkd\"\nkeys = []\n"),
        KeyRingFileError::Active(0)
    );
}

#[test]
fn a_new_ring_has_one_active_key_from_the_random_source() {
    let roots = RootKeys::generate(Prefix::default(), &mut Script(&[7; 32])).expect("32 bytes are enough");
    assert_eq!(
        fingerprints(&roots),
        fingerprints(&roots_of("tkd", &[("0", &"07".repeat(32))]))
    );
    assert_eq!(
        roots.ring(&roots.initial_keys()).expect("its own key").active_kid(),
        kid(b'0')
    );
    for available in 0..32 {
        assert!(
            RootKeys::generate(Prefix::default(), &mut Script(&[7; 32][..available])).is_err(),
            "{available}"
        );
    }
}

#[test]
fn every_fault_of_the_file_has_its_error() {
    let good = ring_text("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    assert!(RootKeys::from_toml(&good).is_ok());
    let with = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        error(&good.replacen(old, new, 1))
    };

    for text in [
        "",
        "not TOML",
        "version = 2\nprefix = \"tkd\"\n",
        "\0",
        "version = -1",
        &ROOT.repeat(100),
    ] {
        assert_eq!(error(text), KeyRingFileError::NotAKeyRing, "{text:?}");
    }
    assert_eq!(with("version", "salt = 1\nversion"), KeyRingFileError::NotAKeyRing);
    assert_eq!(
        with("retired = false", "retired = \"yes\""),
        KeyRingFileError::NotAKeyRing
    );
    assert_eq!(with("retired = false", "active = true"), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("kid = \"0\"\n", ""), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("root", "rood"), KeyRingFileError::NotAKeyRing);

    for other in [0, 3] {
        assert_eq!(
            with("version = 2", &format!("version = {other}")),
            KeyRingFileError::Version(other)
        );
    }
    // A field of a later version does not hide that the file is newer.
    assert_eq!(
        with("version = 2", "version = 3\nsealed_by = \"kms\""),
        KeyRingFileError::Version(3)
    );

    for prefix in ["", "tk", "TKD", "tkd_", "thirteenchars"] {
        assert_eq!(
            with("\"tkd\"", &format!("\"{prefix}\"")),
            KeyRingFileError::Prefix,
            "{prefix}"
        );
    }
    for bad in ["", "00", "_", "\u{e4}"] {
        assert_eq!(
            with("kid = \"0\"", &format!("kid = \"{bad}\"")),
            KeyRingFileError::Kid(1),
            "{bad}"
        );
        assert_eq!(
            with("kid = \"1\"", &format!("kid = \"{bad}\"")),
            KeyRingFileError::Kid(2),
            "{bad}"
        );
    }
    assert_eq!(with("kid = \"1\"", "kid = \"0\""), KeyRingFileError::Kid(2));

    for bad in [
        "",
        "00",
        &ROOT[1..],
        &format!("{ROOT}0"),
        &ROOT.replacen('0', "g", 1),
        &ROOT.replacen("00", "\u{e4}", 1),
    ] {
        assert_eq!(with(ROOT, bad), KeyRingFileError::Root(kid(b'0')), "{bad}");
        assert_eq!(with(OTHER_ROOT, bad), KeyRingFileError::Root(kid(b'1')), "{bad}");
    }

    assert_eq!(
        error("version = 2\nprefix = \"tkd\"\nkeys = []\n"),
        KeyRingFileError::NoKey
    );
    assert_eq!(
        error(&good.replace("retired = false", "retired = true")),
        KeyRingFileError::NoKey
    );
}

/// Roots in every wrong place: nothing that is printed may reveal one.
#[test]
fn errors_and_debug_output_never_contain_a_root() {
    let good = ring_text("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    let faulty = [
        good.replacen("kid = \"0\"", &format!("kid = \"{ROOT}\""), 1),
        good.replacen("kid = \"0\"", &format!("kid = \"{ROOT}\""), 1).replacen(
            "kid = \"1\"",
            &format!("kid = \"{ROOT}\""),
            1,
        ),
        good.replacen("\"tkd\"", &format!("\"{ROOT}\""), 1),
        good.replacen(ROOT, &format!("{ROOT}00"), 1),
        good.replacen(&format!("\"{ROOT}\""), ROOT, 1),
        good.replacen("root = ", &format!("{ROOT} = "), 1),
        good.replacen("retired = false", &format!("retired = \"{ROOT}\""), 1),
        good.replacen("kid = \"1\"", "kid = \"0\"", 1),
        good.replace("retired = false", "retired = true"),
    ];
    let errors = faulty
        .iter()
        .map(|text| error(text))
        .map(|error| format!("{error} {error:?}"));
    let roots = RootKeys::from_toml(&good).expect("well-formed");
    let ring = roots.ring(&roots.initial_keys()).expect("its own keys");
    for shown in errors.chain([format!("{ring:?} {roots:?}"), format!("{ring:#?} {roots:#?}")]) {
        for root in [ROOT, OTHER_ROOT] {
            assert!(!shown.to_lowercase().contains(&root[..8]), "{shown}");
        }
        // Nor in the form of a byte array.
        assert!(
            !shown.contains("0, 1, 2, 3") && !shown.contains("255, 238, 221"),
            "{shown}"
        );
    }
}

#[test]
fn fingerprints_differ_between_roots_and_prefixes() {
    let all = [
        roots(),
        roots_of("tkd", &[("0", OTHER_ROOT)]),
        roots_of("tke", &[("0", ROOT)]),
        roots_of("tkdd", &[("0", ROOT)]),
        // One bit of the root differs.
        roots_of("tkd", &[("0", &ROOT.replacen("1f", "1e", 1))]),
    ];
    for (index, roots) in all.iter().enumerate() {
        for other in &all[index + 1..] {
            assert_ne!(fingerprints(roots), fingerprints(other));
        }
    }
    assert_eq!(fingerprints(&all[0]), fingerprints(&roots()));
    // The fingerprints are not the root in another form.
    for (_, fingerprint) in all[0].fingerprints() {
        assert!(
            !ROOT.contains(
                &blake3::Hash::from_slice(&fingerprint.as_bytes().repeat(2))
                    .expect("32 bytes")
                    .to_hex()[..8]
            )
        );
    }
}
