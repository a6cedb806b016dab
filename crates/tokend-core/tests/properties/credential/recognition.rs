//! Forged, changed and foreign credentials are rejected.

use std::collections::BTreeSet;

use tokend_core::credential::{AuthenticationError, Credential, Kind, SecretDigest, Unrecognized, Unverified};

use super::{DIGITS, OTHERS, authentic, is_recognized, replaced, rings, with_right_checksum};
use crate::samples::{OTHER_ROOT, ROOT, Script, caller_key, id, kid, mint, ring, ring_of, token};

/// Every position and every digit: replaced, inserted, deleted, swapped.
#[test]
fn any_changed_character_is_refused() {
    let characters: Vec<char> = DIGITS.chars().chain(OTHERS.chars()).collect();
    for ring in rings() {
        for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
            let minted = mint(&ring, kind, 7);
            let text = minted.secret.expose();
            assert!(ring.authenticate(text).is_ok());
            let mut forgeries = BTreeSet::new();
            for position in 0..text.len() {
                forgeries.extend(characters.iter().map(|&with| replaced(text, position, with)));
                forgeries.insert(format!("{}{}", &text[..position], &text[position + 1..]));
                if let Some(&[a, b]) = text.as_bytes().get(position..position + 2) {
                    forgeries.insert(format!(
                        "{}{}{}{}",
                        &text[..position],
                        b as char,
                        a as char,
                        &text[position + 2..]
                    ));
                }
            }
            for position in 0..=text.len() {
                forgeries.extend(
                    characters
                        .iter()
                        .map(|with| format!("{}{with}{}", &text[..position], &text[position..])),
                );
            }
            forgeries.remove(text);
            assert!(forgeries.len() > 2 * 70 * characters.len());
            for forgery in &forgeries {
                assert_eq!(
                    ring.authenticate(forgery).err(),
                    Some(AuthenticationError::Unrecognized),
                    "{forgery:?}"
                );
            }
        }
    }
}

/// Anyone can compute the checksum, so here it is always right: the tag alone must reject the forgery.
#[test]
fn a_forgery_with_a_right_checksum_is_refused() {
    for ring in rings() {
        for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
            let minted = mint(&ring, kind, 7);
            let text = minted.secret.expose();
            assert_eq!(with_right_checksum(text), text);
            let mut well_spelled = 0;
            for position in 0..text.len() - 6 {
                for with in DIGITS.chars() {
                    let forgery = with_right_checksum(&replaced(text, position, with));
                    if forgery != text {
                        well_spelled += usize::from(Unverified::parse(&forgery).is_ok());
                        assert_eq!(
                            ring.authenticate(&forgery).err(),
                            Some(AuthenticationError::Unrecognized),
                            "{forgery}"
                        );
                    }
                }
            }
            // Most passed the checks of shape and checksum, so that the ring rejected them.
            assert!(well_spelled > 45 * 61, "{well_spelled}");
        }
    }
}

#[test]
fn another_rings_credential_is_refused() {
    let ours = ring();
    for other in [
        ring_of("tkd", &[("0", OTHER_ROOT)]),
        ring_of("tkd", &[("1", ROOT)]),
        ring_of("tke", &[("0", ROOT)]),
        ring_of("tkdw", &[("0", ROOT)]),
    ] {
        for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
            let minted = mint(&other, kind, 1);
            assert!(other.authenticate(minted.secret.expose()).is_ok());
            assert_eq!(
                ours.authenticate(minted.secret.expose()).err(),
                Some(AuthenticationError::Unrecognized)
            );
        }
    }
}

#[test]
fn a_row_of_the_other_kind_is_not_recognized() {
    let ring = ring();
    let (a_token, a_key) = (mint(&ring, Kind::WorkspaceToken, 1), mint(&ring, Kind::CallerKey, 1));
    let (mut token, mut caller_key) = (token(), caller_key());
    (token.name.id, caller_key.name.id) = (a_token.id, a_key.id);
    // With every digest, including the presented one's own.
    for digest in [a_token.digest, a_key.digest] {
        (token.digest, caller_key.digest) = (digest, digest);
        assert_eq!(
            ring.recognize(&authentic(&ring, a_token.secret.expose()), caller_key.clone())
                .err(),
            Some(Unrecognized)
        );
        assert_eq!(
            ring.recognize(&authentic(&ring, a_key.secret.expose()), token.clone())
                .err(),
            Some(Unrecognized)
        );
    }
    // The ids, secrets and keys are equal, so that only the kind makes the digests differ.
    assert_eq!(a_token.id, a_key.id);
    assert_ne!(a_token.digest, a_key.digest);
}

#[test]
fn a_row_with_another_digest_id_or_key_is_not_recognized() {
    let ring = ring_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
        let minted = mint(&ring, kind, 1);
        let presented = authentic(&ring, minted.secret.expose());
        let recognized = |id, digest| is_recognized(&ring, &presented, id, digest);
        assert!(recognized(minted.id, minted.digest));
        for bit in 0..256 {
            let mut hash = *minted.digest.as_bytes();
            hash[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !recognized(minted.id, SecretDigest::from_stored(kid(b'0'), hash)),
                "bit {bit}"
            );
        }
        let stored = *minted.digest.as_bytes();
        assert!(!recognized(minted.id, SecretDigest::from_stored(kid(b'1'), stored)));
        assert!(!recognized(minted.id, SecretDigest::from_stored(kid(b'2'), stored)));
        assert!(!recognized(id(), minted.digest));
        assert!(!recognized(minted.id, mint(&ring, kind, 2).digest));
    }
}

/// The digest depends on the secret: two secrets under one id, as only someone who can forge tags could present them.
#[test]
fn another_secret_under_the_same_id_is_not_recognized() {
    let ring = ring();
    let [ours, theirs] = [[7; 24], [8; 24]].map(|secret| {
        ring.mint(Kind::WorkspaceToken, &mut Script(&[&[1; 12][..], &secret].concat()))
            .expect("36 bytes are enough")
    });
    assert_eq!(ours.id, theirs.id);
    let presented = authentic(&ring, theirs.secret.expose());
    assert!(!is_recognized(&ring, &presented, ours.id, ours.digest));
    assert!(is_recognized(&ring, &presented, ours.id, theirs.digest));
}

#[test]
fn recognition_returns_the_row() {
    let ring = ring();
    let minted = mint(&ring, Kind::WorkspaceToken, 1);
    let mut row = token();
    (row.name.id, row.digest) = (minted.id, minted.digest);
    let recognized = ring
        .recognize(&authentic(&ring, minted.secret.expose()), row.clone())
        .expect("its own row");
    assert_eq!(Credential::id(&*recognized), minted.id);
    assert_eq!(recognized.into_inner(), row);
}

/// Id and secret come only from the random source: with one byte too few there is no credential.
#[test]
fn a_failing_random_source_fails_minting() {
    let ring = ring();
    for available in 0..36 {
        assert!(
            ring.mint(Kind::WorkspaceToken, &mut Script(&[7; 36][..available]))
                .is_err(),
            "{available}"
        );
    }
    assert!(ring.mint(Kind::WorkspaceToken, &mut Script(&[7; 36])).is_ok());
}

#[test]
fn debug_output_never_contains_the_secret() {
    let ring = ring();
    let minted = mint(&ring, Kind::WorkspaceToken, 1);
    let text = minted.secret.expose();
    let unverified = Unverified::parse(text).expect("well-formed");
    let authentic = authentic(&ring, text);
    let secret_digits = &text[24..57];
    // In the form of a byte array.
    let as_bytes = format!("{:?}", &secret_digits.as_bytes()[..4]);
    for shown in [
        format!("{minted:?}"),
        format!("{unverified:?}"),
        format!("{unverified:#?}"),
        format!("{authentic:?}"),
    ] {
        assert!(
            shown.contains("redacted") && shown.contains(&minted.id.to_string()),
            "{shown}"
        );
        let plain = shown.split_whitespace().collect::<String>();
        for hush in [
            &secret_digits[..4],
            &secret_digits[29..],
            as_bytes.trim_matches(['[', ']']),
        ] {
            assert!(
                !shown.contains(hush) && !plain.contains(&hush.replace(' ', "")),
                "{shown}"
            );
        }
    }
}
