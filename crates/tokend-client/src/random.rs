//! The operating system's random source. No other module uses it.

use rand::TryRng;
#[expect(clippy::disallowed_types, reason = "the one place where randomness enters")]
use rand::rngs::SysRng;

/// Returns a random key.
///
/// # Errors
/// The random source failed.
pub(crate) fn key() -> Result<[u8; 32], rand::rngs::SysError> {
    let mut key = [0; 32];
    SysRng.try_fill_bytes(&mut key)?;
    Ok(key)
}

/// Returns a number from 0 up to but not including 1, for jitter. If the random source fails, it is one half.
pub(crate) fn fraction() -> f64 {
    let number = SysRng.try_next_u32().unwrap_or(u32::MAX / 2);
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}
