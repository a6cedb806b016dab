//! What each key may do, by the file and by the database.

use tokend_core::{
    credential::{AuthenticationError, Kind},
    keyring::{AddKeyError, KeyState, WrongKeys},
};

use super::{THIRD_ROOT, fingerprints, known};
use crate::samples::{OTHER_ROOT, ROOT, Script, kid, mint, ring, ring_of, roots_of, token};

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
    // A key that left the ring accepts nothing any more.
    let retired = ring_of("tkd", &[keys[1], keys[2]]);
    let old = ring_of("tkd", &[keys[0]]);
    assert!(
        retired
            .authenticate(mint(&old, Kind::WorkspaceToken, 3).secret.expose())
            .is_err()
    );
    assert!(!retired.is_intact(&row, &old.seal(&row)));
}

/// A token of a key that only verifies is accepted up to its row, not only by its tag.
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

/// The state in the database decides what a key does, whatever its position in the file.
#[test]
fn the_database_decides_what_a_key_does() {
    let roots = roots_of("tkd", &KEYS);
    let states = [
        ("0", KeyState::Retired),
        ("1", KeyState::Verifies),
        ("Z", KeyState::Active),
    ];
    let ring = roots.ring(&known(&roots, &states)).expect("its own keys");
    assert_eq!(
        (ring.active_kid(), ring.missing_keys(), ring.missing_active_key()),
        (kid(b'Z'), &[][..], None)
    );
    for ((digit, root), (_, state)) in KEYS.into_iter().zip(states) {
        let alone = ring_of("tkd", &[(digit, root)]);
        let works = state != KeyState::Retired;
        let authenticated = ring.authenticate(mint(&alone, Kind::WorkspaceToken, 3).secret.expose());
        assert_eq!(
            authenticated.err(),
            (!works).then_some(AuthenticationError::Unrecognized),
            "{digit}"
        );
        assert_eq!(ring.is_intact(&token(), &alone.seal(&token())), works, "{digit}");
    }
    // A key that the database does not list is ignored.
    let ring = roots
        .ring(&known(&roots, &[("0", KeyState::Active)]))
        .expect("its own keys");
    let unknown = mint(&ring_of("tkd", &[KEYS[1]]), Kind::WorkspaceToken, 3);
    assert_eq!(
        ring.authenticate(unknown.secret.expose()).err(),
        Some(AuthenticationError::Unrecognized)
    );
}

/// Write access to the database is not enough to bring back a key that the file has as retired.
#[test]
fn the_database_cannot_reactivate_a_retired_key() {
    let roots = roots_of("tkd", &KEYS).with_retired(kid(b'0'));
    let old = ring_of("tkd", &[KEYS[0]]);
    let ring = roots
        .ring(&known(&roots, &[("0", KeyState::Verifies), ("1", KeyState::Active)]))
        .expect("its own keys");
    assert_eq!(
        ring.authenticate(mint(&old, Kind::WorkspaceToken, 3).secret.expose())
            .err(),
        Some(AuthenticationError::Unrecognized)
    );
    assert!(!ring.is_intact(&token(), &old.seal(&token())));
    let known = known(&roots, &[("0", KeyState::Active), ("1", KeyState::Verifies)]);
    assert_eq!(
        roots.ring(&known).expect_err("the key is retired"),
        WrongKeys::Retired(kid(b'0'))
    );
}

#[test]
fn wrong_roots_are_rejected() {
    let (mine, theirs) = (roots_of("tkd", &KEYS[..1]), roots_of("tkd", &[("0", OTHER_ROOT)]));
    assert_eq!(
        mine.ring(&theirs.initial_keys()).expect_err("the root differs"),
        WrongKeys::Differs(kid(b'0'))
    );
    assert_eq!(
        mine.ring(&[]).expect_err("the database lists no key"),
        WrongKeys::NoneActive
    );
    assert_eq!(
        mine.ring(&known(&mine, &[("0", KeyState::Verifies)]))
            .expect_err("no key is active"),
        WrongKeys::NoneActive
    );
    let elsewhere = roots_of("tkd", &KEYS[1..2]);
    assert_eq!(
        mine.ring(&elsewhere.initial_keys()).expect_err("none at hand"),
        WrongKeys::Missing(kid(b'1'))
    );
    // A retired key needs no root.
    let all = roots_of("tkd", &KEYS);
    let states = [("0", KeyState::Active), ("1", KeyState::Retired)];
    assert_eq!(
        mine.ring(&known(&all, &states))
            .expect("the key is retired")
            .missing_keys(),
        []
    );
}

/// Without a key's root there is no answer about its credentials, neither yes nor no.
#[test]
fn a_missing_key_gives_no_answer() {
    let all = roots_of("tkd", &KEYS);
    let mine = roots_of("tkd", &KEYS[..1]);
    for (states, missing_active_key) in [
        ([("0", KeyState::Active), ("1", KeyState::Verifies)], None),
        ([("0", KeyState::Verifies), ("1", KeyState::Active)], Some(kid(b'1'))),
    ] {
        let ring = mine.ring(&known(&all, &states)).expect("the other one is at hand");
        assert_eq!(
            (ring.missing_keys(), ring.missing_active_key()),
            (&[kid(b'1')][..], missing_active_key)
        );
        assert!(ring.is_missing(kid(b'1')) && !ring.is_missing(kid(b'0')));
        let theirs = mint(&ring_of("tkd", &KEYS[1..2]), Kind::WorkspaceToken, 3);
        assert_eq!(
            ring.authenticate(theirs.secret.expose()).err(),
            Some(AuthenticationError::MissingKey(kid(b'1')))
        );
        // A credential of another installation, with any key.
        let foreign = mint(&ring_of("tke", &KEYS[1..2]), Kind::WorkspaceToken, 3);
        assert_eq!(
            ring.authenticate(foreign.secret.expose()).err(),
            Some(AuthenticationError::Unrecognized)
        );
        let ours = mint(&ring_of("tkd", &KEYS[..1]), Kind::WorkspaceToken, 3);
        assert!(ring.authenticate(ours.secret.expose()).is_ok());
    }
}

#[test]
fn a_new_key_never_takes_a_used_id() {
    let roots = roots_of("tkd", &[("0", ROOT), ("2", OTHER_ROOT)]);
    let elsewhere = roots_of("tkd", &[("1", THIRD_ROOT)]).initial_keys();
    let (more, new) = roots
        .with_new_key(&elsewhere, &mut Script(&[7; 32]))
        .expect("32 bytes are enough");
    assert_eq!(new, kid(b'3'));
    assert_eq!(fingerprints(&more)[..2], fingerprints(&roots));
    assert_eq!(
        fingerprints(&more)[2],
        fingerprints(&roots_of("tkd", &[("3", &"07".repeat(32))]))[0]
    );
    assert!(matches!(
        roots.with_new_key(&[], &mut Script(&[7; 31])),
        Err(AddKeyError::Random(_))
    ));

    let mut roots = roots;
    while let Ok((more, _)) = roots.with_new_key(&[], &mut Script(&[7; 32])) {
        roots = more;
    }
    assert_eq!(fingerprints(&roots).len(), 62);
    assert!(matches!(
        roots.with_new_key(&[], &mut Script(&[7; 32])),
        Err(AddKeyError::NoKidLeft)
    ));
}
