//! Secrets: read from stdin, printed on stdout.

use std::io::{self, BufRead, IsTerminal, Read};

use tokend_core::{
    credential::{Secret, credentials_in},
    text::{encoding, is_unseen},
};
use zeroize::Zeroizing;

use crate::command_error::CommandError;
use crate::stdout;
use crate::terminal::note;

/// The most bytes that are read: many times the length of a credential.
const MAX_BYTES: usize = 16 * 1024;
/// The most bytes of a line that are searched at once.
const PIECE_BYTES: usize = 1024 * 1024;
/// Bytes at the end of a piece that are searched again with the next one: more than a credential has in any encoding.
const OVERLAP_BYTES: usize = 1024;
/// The most bytes that are kept of the start of a line.
const MAX_START_BYTES: usize = 1024;

/// Reads a secret from stdin; white space around it is ignored.
///
/// # Errors
/// Stdin can't be read, is not text, or is much longer than a credential.
pub(super) fn from_stdin() -> Result<Secret, CommandError> {
    if io::stdin().is_terminal() {
        note("Paste the token, then press Enter and Ctrl-D.");
    }
    read(io::stdin().lock())
}

/// A line of text that may contain secrets.
#[derive(Default)]
pub(super) struct Line {
    /// The line number, counted from 1.
    pub(super) number: u64,
    /// The well-formed credentials in it, in order, without duplicates.
    pub(super) credentials: Vec<Secret>,
    /// The start of its text, without invisible characters around it.
    pub(super) start: String,
}

/// Reads lines from stdin, in any encoding. Empty lines are counted, but not returned.
pub(super) fn lines_from_stdin() -> impl Iterator<Item = io::Result<Line>> {
    if io::stdin().is_terminal() {
        note("Paste the text, then press Ctrl-D on an empty line.");
    }
    lines(io::stdin().lock())
}

/// Prints the secret of `name` alone on stdout. `remedy` says what to do if that fails, such as "replace it with
/// `...`".
///
/// # Errors
/// There is no secret, or it could not be written. A reader that has gone is an error, too: the secret is lost.
pub(super) fn to_stdout(secret: &Secret, name: &str, remedy: &str) -> Result<(), CommandError> {
    let problem = match secret.expose() {
        "" => "the service sent no secret".to_owned(),
        _ => match stdout::print_secret(secret) {
            Ok(()) => return Ok(()),
            Err(error) => format!("its secret could not be written to stdout ({error}) and is lost"),
        },
    };
    Err(CommandError::Other(format!(
        "{name} was created, but {problem}: {remedy}"
    )))
}

fn lines(mut source: impl BufRead) -> impl Iterator<Item = io::Result<Line>> {
    (1..)
        .map_while(move |number| {
            next_line(&mut source)
                .transpose()
                .map(|line| line.map(|line| Line { number, ..line }))
        })
        .filter(|line| {
            line.as_ref()
                .map_or(true, |line| !line.start.is_empty() || !line.credentials.is_empty())
        })
}

/// Reads a line in pieces, so that an endless line does not exhaust the memory.
fn next_line(source: &mut impl BufRead) -> io::Result<Option<Line>> {
    let (mut line, mut clear) = (Line::default(), Zeroizing::new(Vec::new()));
    loop {
        let kept = clear.len();
        let is_first = kept == 0;
        let length = source.take(PIECE_BYTES as u64).read_until(b'\n', &mut clear)?;
        if length == 0 {
            return Ok(Some(line).filter(|_| !is_first));
        }
        // Credentials are ASCII, and the search skips invisible characters. So text that is not UTF-8 does no harm:
        // neither the letters of Latin-1, nor the zero bytes that UTF-16 and UTF-32 put between ASCII characters.
        let text = Zeroizing::new(String::from_utf8_lossy(&clear).into_owned());
        for credential in credentials_in(&text) {
            if !line
                .credentials
                .iter()
                .any(|known| known.expose() == credential.expose())
            {
                line.credentials.push(credential);
            }
        }
        if is_first {
            line.start = visible_start(&text);
        }
        if clear.ends_with(b"\n") {
            return Ok(Some(line));
        }
        let searched = clear.len().saturating_sub(OVERLAP_BYTES);
        clear.drain(..searched);
    }
}

/// Returns the start of a text, without invisible characters around it.
fn visible_start(text: &str) -> String {
    let visible = text.trim_matches(is_unseen);
    visible[..visible.floor_char_boundary(MAX_START_BYTES)].to_owned()
}

fn read(source: impl Read) -> Result<Secret, CommandError> {
    let unreadable =
        |error: &dyn std::fmt::Display| CommandError::Other(format!("can't read the token from stdin: {error}"));
    // Allocated at full size: a buffer that grows leaves copies of the secret in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_BYTES));
    source
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_BYTES {
        return Err(CommandError::Other(format!(
            "stdin has more than {MAX_BYTES} bytes, and no token is that long"
        )));
    }
    let mut clear = encoding::decode(&bytes).map_err(|error| unreadable(&error))?;
    Ok(trimmed(std::mem::take(&mut *clear)))
}

/// Trims in place, so that no copy stays in memory.
fn trimmed(mut clear: String) -> Secret {
    clear.truncate(clear.trim_end().len());
    clear.drain(..clear.len() - clear.trim_start().len());
    Secret::new(clear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_secret_is_ignored() {
        for text in ["tkdw_x", "tkdw_x\n", "\t tkdw_x\r\n\n", "\u{feff}tkdw_x\r\n"] {
            assert_eq!(read(text.as_bytes()).expect("read").expose(), "tkdw_x");
        }
        assert_eq!(read("a b\nc\n".as_bytes()).expect("read").expose(), "a b\nc");
        assert_eq!(read("".as_bytes()).expect("read").expose(), "");
    }

    #[test]
    fn binary_and_endless_input_is_rejected() {
        assert!(read(&b"\xff\xfe!"[..]).is_err());
        assert!(read(io::repeat(b'a')).is_err());
        assert!(read(vec![b'a'; MAX_BYTES].as_slice()).is_ok());
    }

    /// A credential that was never issued, with a valid checksum.
    const CREDENTIAL: &str = "tkdw_0Dn2Ie2x6yUp35V62V_GY2V3xk1hUVHEn3ARRFsjvHvXbGv8U3zLCvcAYv9eXa02ghWss";

    /// Returns the number, the count of credentials, and the start of each line.
    fn read_lines(input: &[u8]) -> Vec<(u64, usize, String)> {
        lines(input)
            .map(|line| line.expect("read"))
            .inspect(|line| {
                assert!(
                    line.credentials
                        .iter()
                        .all(|credential| credential.expose() == CREDENTIAL)
                )
            })
            .map(
                |Line {
                     number,
                     credentials,
                     start,
                 }| (number, credentials.len(), start),
            )
            .collect()
    }

    #[test]
    fn empty_lines_are_counted_and_left_out() {
        let long = "a".repeat(5 * MAX_START_BYTES);
        let input = [
            b"tkdw_x\n\n \t\r\n  tkdw_y \r\n",
            long.as_bytes(),
            b"\n\xff\xfe\n\xef\xbb\xbf\0\ntkdw_z",
        ]
        .concat();
        let line = |number, text: &str| (number, 0, text.to_owned());
        let cut = &long[..MAX_START_BYTES];
        assert_eq!(
            read_lines(&input),
            [
                line(1, "tkdw_x"),
                line(4, "tkdw_y"),
                line(5, cut),
                line(6, "\u{fffd}\u{fffd}"),
                line(8, "tkdw_z")
            ]
        );
        assert!(read_lines(b"").is_empty());
    }

    #[test]
    fn a_credential_is_found_in_any_encoding() {
        let text = format!("é: \"{CREDENTIAL}\"\r\n{CREDENTIAL}");
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let latin_1 = text
            .chars()
            .map(|char| u8::try_from(u32::from(char)).expect("Latin-1"))
            .collect();
        let utf_32 = text.chars().flat_map(|char| u32::from(char).to_le_bytes()).collect();
        let encoded: [Vec<u8>; 7] = [
            text.clone().into_bytes(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe", &*utf_16(u16::to_le_bytes)].concat(),
            [b"\xfe\xff", &*utf_16(u16::to_be_bytes)].concat(),
            utf_16(u16::to_le_bytes),
            latin_1,
            utf_32,
        ];
        for bytes in encoded {
            let found: Vec<_> = read_lines(&bytes)
                .iter()
                .map(|(number, count, _)| (*number, *count))
                .collect();
            assert_eq!(found, [(1, 1), (2, 1)], "{bytes:?}");
        }
    }

    #[test]
    fn a_line_is_searched_whatever_its_length() {
        for before in [
            0,
            10,
            PIECE_BYTES - 40,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            3 * PIECE_BYTES - 30,
        ] {
            let input = format!(
                "{}{CREDENTIAL} {CREDENTIAL}{}\nnext",
                " ".repeat(before),
                "b".repeat(2 * PIECE_BYTES)
            );
            let found: Vec<_> = read_lines(input.as_bytes())
                .iter()
                .map(|(number, count, _)| (*number, *count))
                .collect();
            assert_eq!(found, [(1, 1), (2, 0)], "{before}");
        }
    }
}
