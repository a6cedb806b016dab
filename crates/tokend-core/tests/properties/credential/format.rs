//! The format: known answers, published patterns, and what parsing rejects.

use proptest::prelude::*;
use regex::Regex;
use tokend_core::credential::{AuthenticationError, CredentialId, Kind, Malformed, Unverified, credentials_in};

use super::{DIGITS, authentic, is_recognized, replaced, with_right_checksum};
use crate::samples::{ROOT, Script, id, kid, mint, prefixes, ring, ring_of};

/// Pins the format. The values were computed once by an independent implementation. A change that fails here
/// invalidates every existing credential.
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
        let minted = ring_of(prefix, &[("0", ROOT)])
            .mint(kind, &mut Script(&random))
            .expect("36 bytes are enough");
        assert_eq!(minted.secret.expose(), text);
        assert_eq!(
            blake3::Hash::from_bytes(*minted.digest.as_bytes()).to_hex().as_str(),
            digest
        );
        assert_eq!((minted.digest.kid(), minted.id), (kid(b'0'), id()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn minted_credentials_are_recognized(
        prefix in prefixes(),
        key in prop::sample::select(DIGITS.as_bytes()),
        random: [u8; 12],
        secret: [u8; 24],
    ) {
        let key = kid(key).to_string();
        let ring = ring_of(prefix.as_str(), &[(&key, ROOT)]);
        for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
            let minted = ring.mint(kind, &mut Script(&[&random[..], &secret].concat())).expect("36 bytes are enough");
            let text = minted.secret.expose();
            let unverified = Unverified::parse(text).expect("well-formed");
            prop_assert_eq!(unverified.prefix(), &prefix);
            prop_assert_eq!(
                (unverified.kind(), unverified.kid(), unverified.id()),
                (kind, ring.active_kid(), minted.id)
            );
            let authentic = authentic(&ring, text);
            prop_assert_eq!((authentic.kind(), authentic.id()), (kind, CredentialId::from_bytes(random)));
            prop_assert!(is_recognized(&ring, &authentic, minted.id, minted.digest));
        }
    }

    /// The patterns in `docs/leaks.md`: the first for the default prefix, the second for every prefix.
    #[test]
    fn minted_credentials_match_the_published_patterns(
        prefix in prefixes(),
        kid in prop::sample::select(DIGITS.as_bytes()),
        random: [u8; 12],
        secret: [u8; 24],
    ) {
        let [of_default, of_any] = published_patterns();
        for (prefix, is_default) in [("tkd", true), (prefix.as_str(), prefix.as_str() == "tkd")] {
            let ring = ring_of(prefix, &[(&char::from(kid).to_string(), ROOT)]);
            for kind in [Kind::WorkspaceToken, Kind::CallerKey] {
                let minted = ring
                    .mint(kind, &mut Script(&[&random[..], &secret].concat()))
                    .expect("36 bytes are enough");
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

    /// The pattern that secret scanners use: `tkd[wc]_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}`.
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
            // The id in the text is the id in the resource name.
            prop_assert_eq!(&parts[0][1..], minted.id.to_string());
        }
    }

    /// Any text, and any text after a valid head, is rejected without a panic.
    #[test]
    fn random_text_is_rejected(noise in "\\PC{0,90}", tail in "[0-9A-Za-z]{50}") {
        prop_assert_eq!(ring().authenticate(&noise).err(), Some(AuthenticationError::Unrecognized));
        prop_assert_eq!(
            ring().authenticate(&format!("tkdw_0{}_{tail}", id())).err(),
            Some(AuthenticationError::Unrecognized)
        );
    }
}

/// The patterns that secret scanners use.
fn published_patterns() -> [Regex; 2] {
    let page = include_str!("../../../../../docs/leaks.md");
    let blocks: Vec<_> = page
        .split("```regex\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```"))
        .collect();
    let patterns: Vec<_> = blocks
        .into_iter()
        .map(|(pattern, _)| Regex::new(pattern).expect("a pattern"))
        .collect();
    patterns.try_into().expect("two of them")
}

#[test]
fn a_wrong_checksum_and_a_wrong_shape_have_different_errors() {
    let minted = mint(&ring(), Kind::WorkspaceToken, 1);
    let text = minted.secret.expose();
    let other_digit = if text.as_bytes()[20] == b'0' { '1' } else { '0' };
    assert_eq!(
        Unverified::parse(&replaced(text, 20, other_digit)).err(),
        Some(Malformed::Checksum)
    );
    // Even with a right checksum, a credential needs its two separators and one of two kinds.
    for (position, with) in [(3, 'x'), (3, 'W'), (4, '-'), (4, '0'), (23, '-'), (23, '0')] {
        let foreign = with_right_checksum(&replaced(text, position, with));
        assert_eq!(Unverified::parse(&foreign).err(), Some(Malformed::Shape), "{foreign}");
    }
    // A prefix that no installation can have is not the shape of a credential either.
    for prefix in ["TKD", "t\nd", "t d", "t_d"] {
        let foreign = with_right_checksum(&format!("{prefix}{}", &text[3..]));
        assert_eq!(Unverified::parse(&foreign).err(), Some(Malformed::Shape), "{foreign:?}");
    }
    // A limb above its bits would be a second spelling of the same value.
    let wide_limb = with_right_checksum(&format!("{}zzzzzzzzzzz{}", &text[..24], &text[35..]));
    assert_eq!(Unverified::parse(&wide_limb).err(), Some(Malformed::Shape));
}

/// A `Shape` error means that nothing was hashed, since the checksum is computed after the check of the shape, and the
/// tag after that.
#[test]
fn truncated_and_over_long_texts_are_refused_before_any_hashing() {
    let minted = mint(&ring(), Kind::WorkspaceToken, 1);
    let text = minted.secret.expose();
    for end in 0..text.len() {
        assert_eq!(Unverified::parse(&text[..end]).err(), Some(Malformed::Shape), "{end}");
        assert_eq!(
            ring().authenticate(&text[..end]).err(),
            Some(AuthenticationError::Unrecognized)
        );
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
        assert_eq!(
            ring().authenticate(&long).err(),
            Some(AuthenticationError::Unrecognized)
        );
    }
    // White space around a credential is not accepted.
    for padded in [
        format!(" {text}"),
        format!("{text}\n"),
        format!("Bearer {text}"),
        format!("\"{text}\""),
    ] {
        assert_eq!(
            ring().authenticate(&padded).err(),
            Some(AuthenticationError::Unrecognized),
            "{padded:?}"
        );
    }
}
