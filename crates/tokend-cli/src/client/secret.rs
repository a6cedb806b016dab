//! The two ways of a secret: in by stdin, out by stdout.

use std::io::{self, IsTerminal, Read, Write};

use tokend_core::credential::Secret;

use crate::failure::Failure;
use crate::terminal::note;

/// Most bytes read; many times what a credential has.
const MAX_BYTES: usize = 16 * 1024;

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

/// Prints the secret of `name` alone on stdout.
///
/// # Errors
/// There is none, or it could not be written; nobody has it then, so not even a broken pipe passes.
pub(super) fn to_stdout(secret: &Secret, name: &str) -> Result<(), Failure> {
    if secret.expose().is_empty() {
        return Err(Failure::Other(format!("{name} was made, but the service told no secret. Revoke it and make another")));
    }
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{}", secret.expose()).and_then(|()| stdout.flush());
    written.map_err(|error| {
        Failure::Other(format!("{name} was made, but its secret could not be written: {error}. Revoke it and make another"))
    })
}

fn read(source: impl Read) -> Result<Secret, Failure> {
    // Sized up front: a string that grew would leave copies of the secret behind.
    let mut clear = String::with_capacity(2 * MAX_BYTES);
    let outcome = source.take(MAX_BYTES as u64 + 1).read_to_string(&mut clear);
    let too_long = clear.len() > MAX_BYTES;
    clear.truncate(clear.trim_end().len());
    clear.drain(..clear.len() - clear.trim_start().len());
    let secret = Secret::new(clear);
    match outcome {
        Ok(_) if too_long => Err(Failure::Other(format!("stdin holds more than {MAX_BYTES} bytes: that is no token"))),
        Ok(_) => Ok(secret),
        Err(error) => Err(Failure::Other(format!("can't read the token from stdin: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_secret_is_ignored() {
        for text in ["tkdw_x", "tkdw_x\n", "\t tkdw_x\r\n\n"] {
            assert_eq!(read(text.as_bytes()).expect("read").expose(), "tkdw_x");
        }
        assert_eq!(read("a b\nc\n".as_bytes()).expect("read").expose(), "a b\nc");
        assert_eq!(read("".as_bytes()).expect("read").expose(), "");
    }

    #[test]
    fn what_is_no_text_or_endless_is_refused() {
        assert!(read(&b"\xff\xfe"[..]).is_err());
        assert!(read(io::repeat(b'a')).is_err());
        assert!(read(vec![b'a'; MAX_BYTES].as_slice()).is_ok());
    }
}
