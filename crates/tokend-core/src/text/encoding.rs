//! The encodings of text files: UTF-8 with or without a byte order mark, and UTF-16 with one, which some programs on
//! Windows write.

use zeroize::Zeroizing;

const UTF_8: &[u8] = b"\xef\xbb\xbf";
const UTF_16_LITTLE_ENDIAN: &[u8] = b"\xff\xfe";
const UTF_16_BIG_ENDIAN: &[u8] = b"\xfe\xff";

/// The bytes are not text in any of these encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not text in UTF-8, nor in UTF-16 with a byte order mark")]
pub struct NotText;

/// Decodes text and removes the byte order mark. Line breaks stay as they are. The text may be a secret: it is wiped on
/// drop.
///
/// # Errors
/// [`NotText`].
pub fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, NotText> {
    if let Some(units) = bytes.strip_prefix(UTF_16_LITTLE_ENDIAN) {
        return from_utf_16(units, u16::from_le_bytes);
    }
    if let Some(units) = bytes.strip_prefix(UTF_16_BIG_ENDIAN) {
        return from_utf_16(units, u16::from_be_bytes);
    }
    let text = std::str::from_utf8(bytes.strip_prefix(UTF_8).unwrap_or(bytes)).map_err(|_| NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn from_utf_16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Zeroizing<String>, NotText> {
    let (units, []) = bytes.as_chunks() else {
        return Err(NotText);
    };
    // The capacity is set up front, since a growing string would leave copies behind: a unit of two bytes needs at most
    // three.
    let mut text = Zeroizing::new(String::with_capacity(3 * units.len()));
    for char in char::decode_utf16(units.iter().map(|&bytes| unit(bytes))) {
        text.push(char.map_err(|_| NotText)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_in_every_encoding() {
        let text = "tkdc_ä 名 🔑\r\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [UTF_8, text.as_bytes()].concat(),
            [UTF_16_LITTLE_ENDIAN, &little].concat(),
            [UTF_16_BIG_ENDIAN, &big].concat(),
        ] {
            let decoded = decode(&bytes).expect("text");
            assert_eq!(decoded.as_str(), text);
        }
        assert_eq!(decode(b"").expect("text").as_str(), "");
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        for bytes in [
            &b"\xff"[..],
            b"a\xffb",
            b"\xff\xfea",
            b"\xff\xfe\x00\xd8",
            b"\xfe\xff\xd8\x00",
        ] {
            assert_eq!(decode(bytes).err(), Some(NotText), "{bytes:?}");
        }
    }
}
