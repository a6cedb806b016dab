//! The two ways of a secret: in by stdin, out by stdout.

use std::io::{self, BufRead, IsTerminal, Read};

use tokend_core::{credential::Secret, text_file};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::stdout;
use crate::terminal::note;

/// Most bytes read; many times what a credential has.
const MAX_BYTES: usize = 16 * 1024;
/// Most bytes of one of many lines, its end included.
const MAX_LINE_BYTES: usize = 1024;

/// Reads a secret from stdin; white space around it is ignored.
///
/// # Errors
/// Stdin can't be read, is not text, or is much longer than a credential.
pub(super) fn from_stdin() -> Result<Secret, Failure> {
    if io::stdin().is_terminal() {
        note("Paste the token, then press Enter and Ctrl-D.");
    }
    read(io::stdin().lock())
}

/// A string on a line of its own, which may be a secret.
pub(super) struct Line {
    /// Which line, counted from 1.
    pub(super) number: u64,
    /// What stands on it, without white space around it. Of a line much longer than any credential only the start, which is none.
    pub(super) secret: Secret,
}

/// Reads lines from stdin, one after the other. Empty ones are counted and left out.
pub(super) fn lines_from_stdin() -> impl Iterator<Item = io::Result<Line>> {
    if io::stdin().is_terminal() {
        note("Paste the strings, one a line, then press Ctrl-D on an empty line.");
    }
    lines(io::stdin().lock())
}

/// Prints the secret of `name` alone on stdout. `remedy` says what to do if that fails, such as "replace it with `...`".
///
/// # Errors
/// There is no secret, or it could not be written; nobody has it then, so a reader that has gone is an error, too.
pub(super) fn to_stdout(secret: &Secret, name: &str, remedy: &str) -> Result<(), Failure> {
    let problem = match secret.expose() {
        "" => "the service sent no secret".to_owned(),
        _ => match stdout::print_secret(secret) {
            Ok(()) => return Ok(()),
            Err(error) => format!("its secret could not be written to stdout ({error}) and is lost"),
        },
    };
    Err(Failure::Other(format!("{name} was created, but {problem}: {remedy}")))
}

fn lines(mut source: impl BufRead) -> impl Iterator<Item = io::Result<Line>> {
    (1..)
        .map_while(move |number| next_line(&mut source).transpose().map(|secret| secret.map(|secret| Line { number, secret })))
        .filter(|line| line.as_ref().map_or(true, |line| !line.secret.expose().is_empty()))
}

fn next_line(source: &mut impl BufRead) -> io::Result<Option<Secret>> {
    // Sized up front, as below.
    let mut clear = Vec::with_capacity(MAX_LINE_BYTES);
    if source.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut clear)? == 0 {
        return Ok(None);
    }
    if clear.len() == MAX_LINE_BYTES && !clear.ends_with(b"\n") {
        source.skip_until(b'\n')?;
    }
    // What is no text is none of ours, nor is what stands there instead.
    let clear = String::from_utf8(clear).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Some(trimmed(clear)))
}

fn read(source: impl Read) -> Result<Secret, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::Other(format!("can't read the token from stdin: {error}"));
    // Sized up front: a buffer that grew would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_BYTES));
    source.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_BYTES {
        return Err(Failure::Other(format!("stdin holds more than {MAX_BYTES} bytes: that is no token")));
    }
    let mut clear = text_file::decode(&bytes).map_err(|error| unreadable(&error))?;
    Ok(trimmed(std::mem::take(&mut *clear)))
}

/// In place, so that no copy is left behind.
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
    fn what_is_no_text_or_endless_is_refused() {
        assert!(read(&b"\xff\xfe!"[..]).is_err());
        assert!(read(io::repeat(b'a')).is_err());
        assert!(read(vec![b'a'; MAX_BYTES].as_slice()).is_ok());
    }

    #[test]
    fn lines_are_counted_and_what_is_empty_left_out() {
        let long = "a".repeat(5 * MAX_LINE_BYTES);
        let input = [b"tkdw_x\n\n \t\r\n  tkdw_y \r\n", long.as_bytes(), b"\n\xff\xfe\ntkdw_z"].concat();
        let read: Vec<_> = lines(input.as_slice())
            .map(|line| line.map(|Line { number, secret }| (number, secret.expose().to_owned())).expect("read"))
            .collect();
        let cut = long[..MAX_LINE_BYTES].to_owned();
        let line = |number, text: &str| (number, text.to_owned());
        assert_eq!(read, [line(1, "tkdw_x"), line(4, "tkdw_y"), line(5, &cut), line(6, "\u{fffd}\u{fffd}"), line(7, "tkdw_z")]);
        let exact = format!("{}\nb", &long[..MAX_LINE_BYTES]);
        assert_eq!(lines(exact.as_bytes()).count(), 2, "the end of a cut line is not the next line");
        assert_eq!(lines(&b""[..]).count(), 0);
    }
}
