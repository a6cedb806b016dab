//! Credentials: the one spelling, and that nothing but what this ring minted is ever recognized.

use std::collections::BTreeSet;

use proptest::prelude::*;
use regex::Regex;
use tokend_core::{
    credential::{
        Authentic, Credential, CredentialId, Kind, Malformed, NotAuthentic, SecretDigest, Unrecognized, Unverified, credentials_in,
    },
    keyring::KeyRing,
};

use crate::samples::{OTHER_ROOT, ROOT, Script, caller_key, id, kid, mint, prefixes, ring, ring_of, token};

const DIGITS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters that a credential has besides, or never: the last ones are look-alikes, invisible, or of several bytes.
const OTHERS: &str = "_-. \t\n\0/+=~\u{7f}\u{e4}\u{ff10}\u{430}\u{200b}\u{301}\u{1f511}";

/// One ring with a second key, one with the longest prefix.
fn rings() -> [KeyRing; 2] {
    [ring_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]), ring_of("zz9initech01", &[("z", OTHER_ROOT)])]
}

fn spelled_digits(mut value: u64, width: usize) -> String {
    let mut digits = vec![0; width];
    for place in digits.iter_mut().rev() {
        *place = DIGITS.as_bytes()[(value % 62) as usize];
        value /= 62;
    }
    String::from_utf8(digits).expect("ASCII")
}

/// The text with its last six digits replaced by the checksum that fits what stands before them.
fn with_right_checksum(text: &str) -> String {
    let body = &text[..text.len() - 6];
    format!("{body}{}", spelled_digits(crc32fast::hash(body.as_bytes()).into(), 6))
}

fn replaced(text: &str, position: usize, with: char) -> String {
    format!("{}{with}{}", &text[..position], &text[position + 1..])
}

fn authentic(ring: &KeyRing, text: &str) -> Authentic {
    ring.authenticate(text).expect("minted by this ring")
}

/// The format, pinned: computed once by an independent implementation from the words of the design. A change that fails
/// here orphans every credential in the field.
#[test]
fn known_answers() {
    let random: Vec<u8> = (0xa0..0xac).chain(0xc0..0xd8).collect();
    let known = [
        (
            "tkd",
            Kind::WorkspaceToken,
            "tkdw_0Dn2Ie2x6yUp35V62V_GY2V3xk1hUVHEn3ARRFsjvHvXbGv8U3zLCvcAYv9eXa02ghWss",
            "903ac6b13eb3bde37bd2c70db6b0262363d57636a238a2862a4de74774b22a0a",
        ),
        (
            "tkd",
            Kind::CallerKey,
            "tkdc_0Dn2Ie2x6yUp35V62V_GY2V3xk1hUVHEn3ARRFsjvHvXbGv8U3zLKQg7thXvycH2qu5Br",
            "960637b9056ccec00943294a85e1e10cf3c85fe9e5ba6a7d459765452a943a16",
        ),
        (
            "initech4prod",
            Kind::WorkspaceToken,
            "initech4prodw_0Dn2Ie2x6yUp35V62V_GY2V3xk1hUVHEn3ARRFsjvHvXbGv8U3zLCw2x3IUm7923vCa9e",
            "903ac6b13eb3bde37bd2c70db6b0262363d57636a238a2862a4de74774b22a0a",
        ),
    ];
    for (prefix, kind, text, digest) in known {
        let minted = ring_of(prefix, &[("0", ROOT)]).mint(kind, &mut Script(&random)).expect("36 bytes are enough");
        assert_eq!(minted.secret.expose(), text);
        assert_eq!(blake3::Hash::from_bytes(*minted.digest.as_bytes()).to_hex().as_str(), digest);
        assert_eq!((minted.digest.kid(), minted.id), (kid(b'0'), id()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_minted_is_recognized(prefix in prefixes(), key in prop::sample::select(DIGITS.as_bytes()), random: [u8; 12], secret: [u8; 24]) {
        let key = kid(key).to_string();
        let ring = ring_of(prefix.as_str(), &[(&key, ROOT)]);
        for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
            let minted = ring.mint(kind, &mut Script(&[&random[..], &secret].concat())).expect("36 bytes are enough");
            let text = minted.secret.expose();
            let unverified = Unverified::parse(text).expect("well-formed");
            prop_assert_eq!(unverified.prefix(), &prefix);
            prop_assert_eq!((unverified.kind(), unverified.kid(), unverified.id()), (kind, ring.active_kid(), minted.id));
            let authentic = authentic(&ring, text);
            prop_assert_eq!((authentic.kind(), authentic.id()), (kind, CredentialId::from_bytes(random)));
            prop_assert!(is_recognized(&ring, &authentic, minted.id, minted.digest));
        }
    }

    /// The patterns in `docs/leaks.md`, the first for the default prefix, the second for all.
    #[test]
    fn the_published_patterns_fit(prefix in prefixes(), kid in prop::sample::select(DIGITS.as_bytes()), random: [u8; 12], secret: [u8; 24]) {
        let [of_default, of_any] = published_patterns();
        for (prefix, is_default) in [("tkd", true), (prefix.as_str(), prefix.as_str() == "tkd")] {
            let ring = ring_of(prefix, &[(&char::from(kid).to_string(), ROOT)]);
            for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
                let minted = ring.mint(kind, &mut Script(&[&random[..], &secret].concat())).expect("36 bytes are enough");
                let text = minted.secret.expose();
                let whole = |pattern: &Regex| pattern.find(text).map(|found| found.range()) == Some(0..text.len());
                prop_assert!(whole(&of_any), "{text}");
                prop_assert_eq!(whole(&of_default), is_default, "{}", text);
                for position in [prefix.len(), prefix.len() + 1, prefix.len() + 20] {
                    prop_assert!(!of_any.is_match(&replaced(text, position, '-')), "{text}");
                }
                prop_assert!(!of_any.is_match(&text[..text.len() - 1]), "{text}");
                let pasted = format!("https://x:{text}@example.com");
                let found = credentials_in(&pasted);
                prop_assert_eq!(found.iter().map(|found| found.expose()).collect::<Vec<_>>(), [text]);
            }
        }
    }

    /// `tkd[wc]_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}`, the pattern that scanners are told.
    #[test]
    fn the_default_spelling_fits_the_published_pattern(random: [u8; 12], secret: [u8; 24]) {
        for (kind, letter) in [(Kind::WorkspaceToken, 'w'), (Kind::CallerKey, 'c')] {
            let minted = ring().mint(kind, &mut Script(&[&random[..], &secret].concat())).expect("36 bytes are enough");
            let text = minted.secret.expose();
            prop_assert_eq!(text.len(), 74);
            let (head, rest) = text.split_at(5);
            prop_assert_eq!(head, format!("tkd{letter}_"));
            let parts: Vec<_> = rest.split('_').collect();
            prop_assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [18, 50]);
            prop_assert!(parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric())));
            // The id in the text is the resource id.
            prop_assert_eq!(&parts[0][1..], minted.id.to_string());
        }
    }

    /// Any text at all, and any text behind our own head, is refused without a panic.
    #[test]
    fn noise_is_refused(noise in "\\PC{0,90}", tail in "[0-9A-Za-z]{50}") {
        prop_assert_eq!(ring().authenticate(&noise).err(), Some(NotAuthentic::Unrecognized));
        prop_assert_eq!(ring().authenticate(&format!("tkdw_0{}_{tail}", id())).err(), Some(NotAuthentic::Unrecognized));
    }
}

/// The patterns that scanners are told.
fn published_patterns() -> [Regex; 2] {
    let page = include_str!("../../../../docs/leaks.md");
    let blocks: Vec<_> = page.split("```regex\n").skip(1).filter_map(|rest| rest.split_once("\n```")).collect();
    let patterns: Vec<_> = blocks.into_iter().map(|(pattern, _)| Regex::new(pattern).expect("a pattern")).collect();
    patterns.try_into().expect("two of them")
}

/// Whether the row of the right kind, with this id and digest, is recognized.
fn is_recognized(ring: &KeyRing, presented: &Authentic, id: CredentialId, digest: SecretDigest) -> bool {
    match presented.kind() {
        Kind::WorkspaceToken => {
            let mut row = token();
            (row.name.id, row.digest) = (id, digest);
            ring.recognize(presented, row).is_ok()
        }
        Kind::CallerKey => {
            let mut row = caller_key();
            (row.name.id, row.digest) = (id, digest);
            ring.recognize(presented, row).is_ok()
        }
    }
}

/// Every position, every digit, and then some: replaced, inserted, deleted, swapped.
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
                    forgeries.insert(format!("{}{}{}{}", &text[..position], b as char, a as char, &text[position + 2..]));
                }
            }
            for position in 0..=text.len() {
                forgeries.extend(characters.iter().map(|with| format!("{}{with}{}", &text[..position], &text[position..])));
            }
            forgeries.remove(text);
            assert!(forgeries.len() > 2 * 70 * characters.len());
            for forgery in &forgeries {
                assert_eq!(ring.authenticate(forgery).err(), Some(NotAuthentic::Unrecognized), "{forgery:?}");
            }
        }
    }
}

/// The checksum is no security, so here it always fits: the tag alone must refuse.
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
                        assert_eq!(ring.authenticate(&forgery).err(), Some(NotAuthentic::Unrecognized), "{forgery}");
                    }
                }
            }
            // Most got past the spelling and the checksum, so that it was the ring that refused them.
            assert!(well_spelled > 45 * 61, "{well_spelled}");
        }
    }
}

#[test]
fn parsing_tells_a_wrong_checksum_from_a_wrong_shape() {
    let minted = mint(&ring(), Kind::WorkspaceToken, 1);
    let text = minted.secret.expose();
    let other_digit = if text.as_bytes()[20] == b'0' { '1' } else { '0' };
    assert_eq!(Unverified::parse(&replaced(text, 20, other_digit)).err(), Some(Malformed::Checksum));
    // However right its checksum, a credential has its two separators and one of two kinds.
    for (position, with) in [(3, 'x'), (3, 'W'), (4, '-'), (4, '0'), (23, '-'), (23, '0')] {
        let foreign = with_right_checksum(&replaced(text, position, with));
        assert_eq!(Unverified::parse(&foreign).err(), Some(Malformed::Shape), "{foreign}");
    }
    // Nor is a prefix that no installation can have a credential's shape.
    for prefix in ["TKD", "t\nd", "t d", "t_d"] {
        let foreign = with_right_checksum(&format!("{prefix}{}", &text[3..]));
        assert_eq!(Unverified::parse(&foreign).err(), Some(Malformed::Shape), "{foreign:?}");
    }
    // A limb past its bits would be a second spelling of the same value.
    let wide_limb = with_right_checksum(&format!("{}zzzzzzzzzzz{}", &text[..24], &text[35..]));
    assert_eq!(Unverified::parse(&wide_limb).err(), Some(Malformed::Shape));
}

/// A `Shape` error means that nothing was hashed: the checksum comes after it, and the tag after the checksum.
#[test]
fn truncated_and_over_long_texts_are_refused_before_any_hashing() {
    let minted = mint(&ring(), Kind::WorkspaceToken, 1);
    let text = minted.secret.expose();
    for end in 0..text.len() {
        assert_eq!(Unverified::parse(&text[..end]).err(), Some(Malformed::Shape), "{end}");
        assert_eq!(ring().authenticate(&text[..end]).err(), Some(NotAuthentic::Unrecognized));
    }
    const MIB: usize = 1 << 20;
    for long in [
        "t".repeat(MIB),
        "\u{1f511}".repeat(MIB / 4),
        format!("{text}{}", "0".repeat(MIB)),
        format!("{}{text}", "a".repeat(MIB)),
        text.repeat(MIB / text.len()),
    ] {
        assert_eq!(Unverified::parse(&long).err(), Some(Malformed::Shape));
        assert_eq!(ring().authenticate(&long).err(), Some(NotAuthentic::Unrecognized));
    }
    // Around the credential is not the credential.
    for padded in [format!(" {text}"), format!("{text}\n"), format!("Bearer {text}"), format!("\"{text}\"")] {
        assert_eq!(ring().authenticate(&padded).err(), Some(NotAuthentic::Unrecognized), "{padded:?}");
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
            assert_eq!(ours.authenticate(minted.secret.expose()).err(), Some(NotAuthentic::Unrecognized));
        }
    }
}

#[test]
fn a_row_of_the_other_kind_is_not_recognized() {
    let ring = ring();
    let (a_token, a_key) = (mint(&ring, Kind::WorkspaceToken, 1), mint(&ring, Kind::CallerKey, 1));
    let (mut token, mut caller_key) = (token(), caller_key());
    (token.name.id, caller_key.name.id) = (a_token.id, a_key.id);
    // Whatever digest the row has, the presented one's own included.
    for digest in [a_token.digest, a_key.digest] {
        (token.digest, caller_key.digest) = (digest, digest);
        assert_eq!(ring.recognize(&authentic(&ring, a_token.secret.expose()), caller_key.clone()).err(), Some(Unrecognized));
        assert_eq!(ring.recognize(&authentic(&ring, a_key.secret.expose()), token.clone()).err(), Some(Unrecognized));
    }
    // Same id, same secret, same key: the kind alone makes another digest.
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
            assert!(!recognized(minted.id, SecretDigest::from_stored(kid(b'0'), hash)), "bit {bit}");
        }
        let stored = *minted.digest.as_bytes();
        assert!(!recognized(minted.id, SecretDigest::from_stored(kid(b'1'), stored)));
        assert!(!recognized(minted.id, SecretDigest::from_stored(kid(b'2'), stored)));
        assert!(!recognized(id(), minted.digest));
        assert!(!recognized(minted.id, mint(&ring, kind, 2).digest));
    }
}

/// The digest is of the secret: two secrets under one id, as only a forger of tags could show them.
#[test]
fn another_secret_under_the_same_id_is_not_recognized() {
    let ring = ring();
    let [ours, theirs] = [[7; 24], [8; 24]].map(|secret| {
        ring.mint(Kind::WorkspaceToken, &mut Script(&[&[1; 12][..], &secret].concat())).expect("36 bytes are enough")
    });
    assert_eq!(ours.id, theirs.id);
    let presented = authentic(&ring, theirs.secret.expose());
    assert!(!is_recognized(&ring, &presented, ours.id, ours.digest));
    assert!(is_recognized(&ring, &presented, ours.id, theirs.digest));
}

#[test]
fn what_is_recognized_is_the_row_itself() {
    let ring = ring();
    let minted = mint(&ring, Kind::WorkspaceToken, 1);
    let mut row = token();
    (row.name.id, row.digest) = (minted.id, minted.digest);
    let recognized = ring.recognize(&authentic(&ring, minted.secret.expose()), row.clone()).expect("its own row");
    assert_eq!(Credential::id(&*recognized), minted.id);
    assert_eq!(recognized.into_inner(), row);
}

/// Id and secret come from the random source alone: with one byte too few there is no credential.
#[test]
fn a_failing_random_source_fails_minting() {
    let ring = ring();
    for available in 0..36 {
        assert!(ring.mint(Kind::WorkspaceToken, &mut Script(&[7; 36][..available])).is_err(), "{available}");
    }
    assert!(ring.mint(Kind::WorkspaceToken, &mut Script(&[7; 36])).is_ok());
}

#[test]
fn debug_output_never_tells_the_secret() {
    let ring = ring();
    let minted = mint(&ring, Kind::WorkspaceToken, 1);
    let text = minted.secret.expose();
    let unverified = Unverified::parse(text).expect("well-formed");
    let authentic = authentic(&ring, text);
    let secret_digits = &text[24..57];
    // As a byte array shows them.
    let as_bytes = format!("{:?}", &secret_digits.as_bytes()[..4]);
    for shown in [format!("{minted:?}"), format!("{unverified:?}"), format!("{unverified:#?}"), format!("{authentic:?}")] {
        assert!(shown.contains("redacted") && shown.contains(&minted.id.to_string()), "{shown}");
        let plain = shown.split_whitespace().collect::<String>();
        for hush in [&secret_digits[..4], &secret_digits[29..], as_bytes.trim_matches(['[', ']'])] {
            assert!(!shown.contains(hush) && !plain.contains(&hush.replace(' ', "")), "{shown}");
        }
    }
}
