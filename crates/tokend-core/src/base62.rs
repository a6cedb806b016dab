//! Fixed-width base62: digits `0-9A-Za-z`, most significant first, in limbs of 32 or 64 bits.
//!
//! Limbs need no big-number arithmetic and give every value exactly one encoding of a known width. A limb whose digits
//! exceed its bits is malformed.

/// The digits of 64 bits: 62^11 > 2^64.
pub(crate) const DIGITS_64: usize = 11;
/// The digits of 32 bits: 62^6 > 2^32.
pub(crate) const DIGITS_32: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NOT_A_DIGIT: u8 = 0xff;
const VALUES: [u8; 256] = {
    let mut values = [NOT_A_DIGIT; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        values[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Returns the digit for `value`, which must be below 62.
pub(crate) fn digit(value: u8) -> u8 {
    ALPHABET[usize::from(value)]
}

/// Returns the value of a digit, 0 to 61.
pub(crate) fn value(digit: u8) -> Option<u8> {
    let value = VALUES[usize::from(digit)];
    (value != NOT_A_DIGIT).then_some(value)
}

/// Fills `out` with the digits of `limb`, most significant first.
pub(crate) fn encode(mut limb: u64, out: &mut [u8]) {
    for place in out.iter_mut().rev() {
        *place = ALPHABET[(limb % 62) as usize];
        limb /= 62;
    }
    debug_assert_eq!(limb, 0, "the width holds every limb of its size");
}

/// Decodes a 64-bit limb. `None` for other characters or a value above 64 bits.
pub(crate) fn decode_64(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |limb, &digit| {
        limb.checked_mul(62)?.checked_add(value(digit)?.into())
    })
}

/// Decodes a 32-bit limb. `None` for other characters or a value above 32 bits.
pub(crate) fn decode_32(digits: &[u8]) -> Option<u32> {
    u32::try_from(decode_64(digits)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limbs_out_of_range_are_malformed() {
        let mut digits = [0; DIGITS_64];
        encode(u64::MAX, &mut digits);
        assert_eq!(&digits, b"LygHa16AHYF");
        assert_eq!(decode_64(b"LygHa16AHYG"), None);
        assert_eq!(decode_64(b"zzzzzzzzzzz"), None);
        assert_eq!(decode_32(b"4gfFC3"), Some(u32::MAX));
        assert_eq!(decode_32(b"4gfFC4"), None);
    }

    proptest! {
        #[test]
        fn round_trips(limb: u64, short: u32) {
            let (mut wide, mut narrow) = ([0; DIGITS_64], [0; DIGITS_32]);
            encode(limb, &mut wide);
            encode(short.into(), &mut narrow);
            prop_assert_eq!(decode_64(&wide), Some(limb));
            prop_assert_eq!(decode_32(&narrow), Some(short));
        }

        #[test]
        fn order_is_kept(a: u64, b: u64) {
            let (mut spelled_a, mut spelled_b) = ([0; DIGITS_64], [0; DIGITS_64]);
            encode(a, &mut spelled_a);
            encode(b, &mut spelled_b);
            prop_assert_eq!(a.cmp(&b), spelled_a.cmp(&spelled_b));
        }

        #[test]
        fn foreign_characters_are_malformed(at in 0..DIGITS_64, foreign: u8) {
            prop_assume!(!foreign.is_ascii_alphanumeric());
            let mut digits = [b'0'; DIGITS_64];
            digits[at] = foreign;
            prop_assert_eq!(decode_64(&digits), None);
        }
    }
}
