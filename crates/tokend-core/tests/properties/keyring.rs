//! The key ring: its file, what it tells of itself, and which of its keys do what.

use proptest::prelude::*;
use tokend_core::{
    credential::{Kid, Kind, NotAuthentic, Prefix},
    keyring::{AddKeyError, Fingerprint, KeyRingFileError, KeyState, KnownKey, RootKeys, WrongKeys},
};

use crate::samples::{OTHER_ROOT, ROOT, Script, kid, mint, prefixes, ring, ring_of, ring_text, roots_of, token};

const THIRD_ROOT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn fingerprints(roots: &RootKeys) -> Vec<(Kid, Fingerprint)> {
    roots.fingerprints().collect()
}

/// Key `0` with [`ROOT`] and the default prefix.
fn roots() -> RootKeys {
    roots_of("tkd", &[("0", ROOT)])
}

fn error(text: &str) -> KeyRingFileError {
    RootKeys::from_toml(text).expect_err("no key ring")
}

/// What the database knows of these roots, with the states of those named.
fn known(roots: &RootKeys, states: &[(&str, KeyState)]) -> Vec<KnownKey> {
    let state = |kid: Kid| states.iter().find(|(named, _)| *named == kid.to_string()).map(|(_, state)| *state);
    roots.fingerprints().filter_map(|(kid, fingerprint)| Some(KnownKey { kid, fingerprint, state: state(kid)? })).collect()
}

#[test]
fn known_fingerprint() {
    let [(kid, fingerprint)] = fingerprints(&roots())[..] else { panic!("one key") };
    let known = [0x94, 0x71, 0x10, 0x97, 0x3a, 0x28, 0x7b, 0x5a, 0x1a, 0x91, 0x72, 0x3f, 0xcb, 0xd6, 0x18, 0xca];
    assert_eq!((kid.to_string().as_str(), fingerprint.as_bytes()), ("0", &known));
    assert_eq!(Fingerprint::from_bytes(known), fingerprint);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A ring written and read again is the same ring: every key, which ones are retired, the prefix.
    #[test]
    fn the_text_form_round_trips(
        prefix in prefixes(),
        roots in prop::collection::btree_map(prop::sample::select(b"09AZaz5".as_slice()), any::<[u8; 32]>(), 2..6),
        retired: prop::sample::Index,
    ) {
        let keys: Vec<_> =
            roots.iter().map(|(digit, root)| (kid(*digit).to_string(), blake3::Hash::from_bytes(*root).to_hex().to_string())).collect();
        let keys: Vec<_> = keys.iter().map(|(kid, root)| (kid.as_str(), root.as_str())).collect();
        let retired: Kid = keys[retired.index(keys.len())].0.parse().expect("a kid");
        let written = roots_of(prefix.as_str(), &keys).with_retired(retired);
        let text = written.to_toml();
        let read = RootKeys::from_toml(&text).expect("as written");
        prop_assert_eq!(read.prefix(), &prefix);
        prop_assert_eq!(fingerprints(&read), fingerprints(&written));
        prop_assert_eq!(fingerprints(&read).len(), keys.len());
        prop_assert_eq!(read.known_at_first(), written.known_at_first());
        prop_assert!(fingerprints(&read).iter().all(|(kid, _)| read.is_retired(*kid) == (*kid == retired)));
        prop_assert_eq!(&*read.to_toml(), &*text);
        let [read, written] = [&read, &written].map(|roots| roots.ring(&roots.known_at_first()).expect("its own keys"));
        prop_assert!(read.authenticate(mint(&written, Kind::WorkspaceToken, 1).secret.expose()).is_ok());
        prop_assert!(read.is_intact(&token(), &written.seal(&token())));
    }
}

/// What was written before the database knew which key is active.
#[test]
fn version_1_is_still_read() {
    let v1 = |active: [bool; 3]| {
        let keys = [("0", ROOT), ("1", OTHER_ROOT), ("Z", THIRD_ROOT)].into_iter().zip(active);
        let keys = keys.map(|((kid, root), active)| format!("[[keys]]\nkid = \"{kid}\"\nroot = \"{root}\"\nactive = {active}\n"));
        format!("version = 1\nprefix = \"tkd\"\n{}", keys.collect::<String>())
    };
    let read = RootKeys::from_toml(&v1([false, true, false])).expect("well-formed");
    assert_eq!(fingerprints(&read), fingerprints(&roots_of("tkd", &[("1", OTHER_ROOT), ("0", ROOT), ("Z", THIRD_ROOT)])));
    assert_eq!(read.ring(&read.known_at_first()).expect("its own keys").active_kid(), kid(b'1'));
    assert_eq!(error(&v1([false; 3])), KeyRingFileError::Active(0));
    assert_eq!(error(&v1([true, false, true])), KeyRingFileError::Active(2));
    assert_eq!(error(&v1([true, false, false]).replacen("active = true", "retired = true", 1)), KeyRingFileError::NotAKeyRing);
    assert_eq!(error("version = 1\nprefix = \"tkd\"\nkeys = []\n"), KeyRingFileError::Active(0));
}

#[test]
fn a_new_ring_has_one_active_key_from_the_random_source() {
    let roots = RootKeys::generate(Prefix::default(), &mut Script(&[7; 32])).expect("32 bytes are enough");
    assert_eq!(fingerprints(&roots), fingerprints(&roots_of("tkd", &[("0", &"07".repeat(32))])));
    assert_eq!(roots.ring(&roots.known_at_first()).expect("its own key").active_kid(), kid(b'0'));
    for available in 0..32 {
        assert!(RootKeys::generate(Prefix::default(), &mut Script(&[7; 32][..available])).is_err(), "{available}");
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

    for text in ["", "not TOML", "version = 2\nprefix = \"tkd\"\n", "\0", "version = -1", &ROOT.repeat(100)] {
        assert_eq!(error(text), KeyRingFileError::NotAKeyRing, "{text:?}");
    }
    assert_eq!(with("version", "salt = 1\nversion"), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("retired = false", "retired = \"yes\""), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("retired = false", "active = true"), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("kid = \"0\"\n", ""), KeyRingFileError::NotAKeyRing);
    assert_eq!(with("root", "rood"), KeyRingFileError::NotAKeyRing);

    for other in [0, 3] {
        assert_eq!(with("version = 2", &format!("version = {other}")), KeyRingFileError::Version(other));
    }
    // What a later version added does not hide that it is later.
    assert_eq!(with("version = 2", "version = 3\nsealed_by = \"kms\""), KeyRingFileError::Version(3));

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

    assert_eq!(error("version = 2\nprefix = \"tkd\"\nkeys = []\n"), KeyRingFileError::NoKey);
    assert_eq!(error(&good.replace("retired = false", "retired = true")), KeyRingFileError::NoKey);
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
        good.replacen("retired = false", &format!("retired = \"{ROOT}\""), 1),
        good.replacen("kid = \"1\"", "kid = \"0\"", 1),
        good.replace("retired = false", "retired = true"),
    ];
    let errors = faulty.iter().map(|text| error(text)).map(|error| format!("{error} {error:?}"));
    let roots = RootKeys::from_toml(&good).expect("well-formed");
    let ring = roots.ring(&roots.known_at_first()).expect("its own keys");
    for shown in errors.chain([format!("{ring:?} {roots:?}"), format!("{ring:#?} {roots:#?}")]) {
        for root in [ROOT, OTHER_ROOT] {
            assert!(!shown.to_lowercase().contains(&root[..8]), "{shown}");
        }
        // Nor as a byte array shows it.
        assert!(!shown.contains("0, 1, 2, 3") && !shown.contains("255, 238, 221"), "{shown}");
    }
}

#[test]
fn fingerprints_tell_roots_and_prefixes_apart() {
    let all = [
        roots(),
        roots_of("tkd", &[("0", OTHER_ROOT)]),
        roots_of("tke", &[("0", ROOT)]),
        roots_of("tkdd", &[("0", ROOT)]),
        // One bit of the root.
        roots_of("tkd", &[("0", &ROOT.replacen("1f", "1e", 1))]),
    ];
    for (index, roots) in all.iter().enumerate() {
        for other in &all[index + 1..] {
            assert_ne!(fingerprints(roots), fingerprints(other));
        }
    }
    assert_eq!(fingerprints(&all[0]), fingerprints(&roots()));
    // And they are not the root in another coat.
    for (_, fingerprint) in all[0].fingerprints() {
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

const KEYS: [(&str, &str); 3] = [("0", ROOT), ("1", OTHER_ROOT), ("Z", THIRD_ROOT)];

/// What the database says each key may do is what it does, whatever its place in the file.
#[test]
fn the_database_decides_what_a_key_does() {
    let roots = roots_of("tkd", &KEYS);
    let states = [("0", KeyState::Retired), ("1", KeyState::Verifies), ("Z", KeyState::Active)];
    let ring = roots.ring(&known(&roots, &states)).expect("its own keys");
    assert_eq!((ring.active_kid(), ring.lacked(), ring.lacked_active()), (kid(b'Z'), &[][..], None));
    for ((digit, root), (_, state)) in KEYS.into_iter().zip(states) {
        let alone = ring_of("tkd", &[(digit, root)]);
        let works = state != KeyState::Retired;
        let authenticated = ring.authenticate(mint(&alone, Kind::WorkspaceToken, 3).secret.expose());
        assert_eq!(authenticated.err(), (!works).then_some(NotAuthentic::Unrecognized), "{digit}");
        assert_eq!(ring.is_intact(&token(), &alone.seal(&token())), works, "{digit}");
    }
    // A key that the database does not know does nothing.
    let ring = roots.ring(&known(&roots, &[("0", KeyState::Active)])).expect("its own keys");
    let unknown = mint(&ring_of("tkd", &[KEYS[1]]), Kind::WorkspaceToken, 3);
    assert_eq!(ring.authenticate(unknown.secret.expose()).err(), Some(NotAuthentic::Unrecognized));
}

/// Who can write to the database can't bring back what the file calls retired.
#[test]
fn retired_in_the_file_is_for_good() {
    let roots = roots_of("tkd", &KEYS).with_retired(kid(b'0'));
    let old = ring_of("tkd", &[KEYS[0]]);
    let ring = roots.ring(&known(&roots, &[("0", KeyState::Verifies), ("1", KeyState::Active)])).expect("its own keys");
    assert_eq!(ring.authenticate(mint(&old, Kind::WorkspaceToken, 3).secret.expose()).err(), Some(NotAuthentic::Unrecognized));
    assert!(!ring.is_intact(&token(), &old.seal(&token())));
    let known = known(&roots, &[("0", KeyState::Active), ("1", KeyState::Verifies)]);
    assert_eq!(roots.ring(&known).expect_err("it is retired"), WrongKeys::Retired(kid(b'0')));
}

#[test]
fn roots_that_do_not_fit_the_database() {
    let (mine, theirs) = (roots_of("tkd", &KEYS[..1]), roots_of("tkd", &[("0", OTHER_ROOT)]));
    assert_eq!(mine.ring(&theirs.known_at_first()).expect_err("another"), WrongKeys::Differs(kid(b'0')));
    assert_eq!(mine.ring(&[]).expect_err("nothing is known"), WrongKeys::NoneActive);
    assert_eq!(mine.ring(&known(&mine, &[("0", KeyState::Verifies)])).expect_err("none signs"), WrongKeys::NoneActive);
    let elsewhere = roots_of("tkd", &KEYS[1..2]);
    assert_eq!(mine.ring(&elsewhere.known_at_first()).expect_err("none at hand"), WrongKeys::Lacks(kid(b'1')));
    // Of a retired key nothing is asked.
    let all = roots_of("tkd", &KEYS);
    let states = [("0", KeyState::Active), ("1", KeyState::Retired)];
    assert_eq!(mine.ring(&known(&all, &states)).expect("it is retired").lacked(), []);
}

/// No verdict is made of a key that is not at hand: what it made is neither ours nor not ours.
#[test]
fn a_key_that_is_not_at_hand() {
    let all = roots_of("tkd", &KEYS);
    let mine = roots_of("tkd", &KEYS[..1]);
    for (states, lacked_active) in [
        ([("0", KeyState::Active), ("1", KeyState::Verifies)], None),
        ([("0", KeyState::Verifies), ("1", KeyState::Active)], Some(kid(b'1'))),
    ] {
        let ring = mine.ring(&known(&all, &states)).expect("the other one is at hand");
        assert_eq!((ring.lacked(), ring.lacked_active()), (&[kid(b'1')][..], lacked_active));
        assert!(ring.lacks(kid(b'1')) && !ring.lacks(kid(b'0')));
        let theirs = mint(&ring_of("tkd", &KEYS[1..2]), Kind::WorkspaceToken, 3);
        assert_eq!(ring.authenticate(theirs.secret.expose()).err(), Some(NotAuthentic::KeyLacked(kid(b'1'))));
        // Another installation's, whatever its key.
        let foreign = mint(&ring_of("tke", &KEYS[1..2]), Kind::WorkspaceToken, 3);
        assert_eq!(ring.authenticate(foreign.secret.expose()).err(), Some(NotAuthentic::Unrecognized));
        let ours = mint(&ring_of("tkd", &KEYS[..1]), Kind::WorkspaceToken, 3);
        assert!(ring.authenticate(ours.secret.expose()).is_ok());
    }
}

#[test]
fn a_new_key_never_takes_a_used_id() {
    let roots = roots_of("tkd", &[("0", ROOT), ("2", OTHER_ROOT)]);
    let elsewhere = roots_of("tkd", &[("1", THIRD_ROOT)]).known_at_first();
    let (more, new) = roots.with_new_key(&elsewhere, &mut Script(&[7; 32])).expect("32 bytes are enough");
    assert_eq!(new, kid(b'3'));
    assert_eq!(fingerprints(&more)[..2], fingerprints(&roots));
    assert_eq!(fingerprints(&more)[2], fingerprints(&roots_of("tkd", &[("3", &"07".repeat(32))]))[0]);
    assert!(matches!(roots.with_new_key(&[], &mut Script(&[7; 31])), Err(AddKeyError::Random(_))));

    let mut roots = roots;
    while let Ok((more, _)) = roots.with_new_key(&[], &mut Script(&[7; 32])) {
        roots = more;
    }
    assert_eq!(fingerprints(&roots).len(), 62);
    assert!(matches!(roots.with_new_key(&[], &mut Script(&[7; 32])), Err(AddKeyError::NoKidLeft)));
}
